import numpy as np
import polars as pl
import pytest

from curator_assets.report.numbers.band_precision import n_needed, precision, recommend, wilson
from curator_assets.report.numbers.cosine_bands import make_bands
from curator_assets.report.numbers.marked_pairs import Mark

BANDS = make_bands(0.04, 0.06)  # identical, to .01, .02, .03, .04, then to .05 and .06


def test_the_interval_is_wilsons():
    assert wilson(0, 0) == (0, 1)
    np.testing.assert_allclose(wilson(10, 10), (0.7225, 1.0), atol=1e-4)
    np.testing.assert_allclose(wilson(45, 50), (0.7864, 0.9565), atol=1e-4)
    needed = n_needed(0.99)
    assert needed == 381
    assert wilson(needed, needed)[0] >= 0.99 > wilson(needed - 1, needed - 1)[0]
    assert n_needed(1.0) is None


def table(*counts: tuple[int, int, int]) -> pl.DataFrame:
    """The table `precision` from (pairs, marked, duplicates) of each band."""
    middles = [1.0, *(1 - (b.eps_from + b.eps_to) / 2 for b in BANDS[1:])]
    marked = [
        Mark(f"{i}-{j}", "k", middles[i], j < right)
        for i, (_, n, right) in enumerate(counts)
        for j in range(n)
    ]
    return precision({i: n for i, (n, _, _) in enumerate(counts)}, BANDS, marked)


def test_precision_of_each_band():
    rows = table((5, 4, 4), (9, 20, 19)).to_dicts()
    assert [row["n_pairs"] for row in rows] == [5, 9, 0, 0, 0, 0, 0]
    assert (rows[1]["n_marked"], rows[1]["n_duplicate"], rows[1]["precision"]) == (20, 19, 0.95)
    assert (rows[1]["low"], rows[1]["high"]) == wilson(19, 20)
    assert (rows[2]["precision"], rows[2]["low"], rows[2]["high"]) == (None, 0, 1)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], None),  # no pairs, nothing marked
        ([(5, 9, 9)], None),  # fewer than ten marked
        ([(5, 20, 20), (9, 20, 20), (9, 20, 18), (9, 20, 20)], 0.01),  # the third is too bad
        ([(5, 20, 20), (9, 20, 19)], 0.06),  # nothing lies beyond
        ([(5, 20, 20), (0, 0, 0), (9, 20, 20), (9, 2, 2)], 0.02),  # an empty band is passed
        ([(0, 0, 0), (9, 20, 20), (9, 0, 0)], 0.01),
        ([(5, 20, 18)], None),
    ],
)
def test_the_largest_eps_that_is_precise_enough(counts, expected):
    assert recommend(table(*counts), 0.95, "precision") == expected


def test_to_be_sure_takes_more_marks():
    few, many = table((5, 20, 20), (9, 0, 0)), table((5, 80, 80), (9, 0, 0))
    assert recommend(few, 0.95, "precision") == recommend(many, 0.95, "precision") == 0
    assert recommend(few, 0.95, "low") is None
    assert recommend(many, 0.95, "low") == 0
