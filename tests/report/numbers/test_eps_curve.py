import polars as pl
import pytest

from curator_assets.defs.output.curation_report import given_of
from curator_assets.kernels.eps_sweep import MAX_THRESHOLDS
from curator_assets.questions.stored_work import stored_work
from curator_assets.report.numbers import eps_curve
from curator_assets.report.numbers.duplicate_tables import duplicate_tables
from curator_assets.report.numbers.eps_curve import eps_grid, too_many


def test_too_many_dense_members_are_not_resolved_at_every_eps():
    assert too_many(20_000) is None
    assert "20,001 images lie in dense clumps" in too_many(20_001)


def test_the_curve_has_two_points_then_and_nothing_else_differs(finished, monkeypatch):
    monkeypatch.setattr(eps_curve, "MAX_DENSE_MEMBERS", -1)
    given = given_of(stored_work(finished.settings))
    assert "only the chosen eps and max_eps were resolved" in given.why_not
    found, tables = duplicate_tables(given), finished.folder / "curated/report/tables"
    curve = pl.read_parquet(tables / "eps_curve.parquet")
    assert found.curve.equals(curve.filter(pl.col("eps").is_in([0.01, 0.03])))
    assert len(found.curve) == 2
    assert found.precision.equals(pl.read_parquet(tables / "precision.parquet"))


def test_the_grid_ascends_and_holds_the_chosen_eps_and_the_largest():
    grid = eps_grid(0.033, 0.06)
    assert grid == sorted(set(grid))
    assert grid == [*(i / 200 for i in range(7)), 0.033, *(i / 200 for i in range(7, 13))]
    assert eps_grid(0, 0) == [0]


@pytest.mark.parametrize("max_eps", [1e-9, 0.0003, 0.01, 0.03, 0.05, 0.0512, 0.1, 0.15, 0.5, 1])
def test_its_steps_are_round_and_neither_few_nor_many(max_eps):
    grid = eps_grid(max_eps, max_eps)
    assert len(grid) >= 6
    assert len(eps_grid(0.77 * max_eps, max_eps)) <= MAX_THRESHOLDS
    assert (grid[0], grid[-1]) == (0, max_eps)
    step = f"{grid[1]:e}"
    assert float(step.partition("e")[0]) in {1, 2, 2.5, 5}
