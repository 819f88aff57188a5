import polars as pl

from curator_assets.defs.output.curation_report import given_of
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
    assert (grid[0], grid[-1], len(grid)) == (0, 0.06, 14)
    assert 0.033 in grid
    assert eps_grid(0, 0) == [0]
