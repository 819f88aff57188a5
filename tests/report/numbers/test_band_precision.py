import numpy as np

from curator_assets.report.numbers.band_precision import precision
from curator_assets.report.numbers.cosine_bands import make_bands
from curator_assets.report.numbers.marked_pairs import Mark
from curator_assets.report.numbers.score_interval import is_refuted, wilson

BANDS = make_bands(0.04, 0.06)  # identical, to .01, .02, .03, .04, then to .05 and .06


def test_the_interval_is_wilsons():
    assert wilson(0, 0) == (0, 1)
    np.testing.assert_allclose(wilson(10, 10), (0.7225, 1.0), atol=1e-4)
    np.testing.assert_allclose(wilson(45, 50), (0.7864, 0.9565), atol=1e-4)


def test_of_few_pairs_a_share_is_surer_and_known_once_all_are_marked():
    lows, highs = zip(*(wilson(45, 50, n_all) for n_all in (50, 51, 100, 1000, 1e9)), strict=True)
    assert (lows[0], highs[0]) == (0.9, 0.9)
    assert sorted(lows, reverse=True) == list(lows) and sorted(highs) == list(highs)
    np.testing.assert_allclose((lows[-1], highs[-1]), wilson(45, 50), atol=1e-4)


def test_a_share_is_refuted_where_the_interval_lies_below_it():
    for n in range(1, 40):
        right = np.arange(n + 1)
        highs = np.array([wilson(r, n)[1] for r in right.tolist()])
        for wished in (0.5, 0.9, 0.99):
            np.testing.assert_array_equal(is_refuted(right, np.array(n), wished), highs < wished)
    assert not is_refuted(np.array(0), np.array(0), 0.99)


def test_precision_of_each_band():
    counts, middles = {0: (5, 4, 4), 1: (50, 20, 19)}, (1.0, 0.995)
    marked = [
        Mark(f"{i}-{j}", "k", middles[i], j < right)
        for i, (_, n, right) in counts.items()
        for j in range(n)
    ]
    rows = precision({i: n for i, (n, _, _) in counts.items()}, BANDS, marked).to_dicts()
    assert [row["n_pairs"] for row in rows] == [5, 50, 0, 0, 0, 0, 0]
    assert (rows[1]["n_marked"], rows[1]["n_duplicate"], rows[1]["precision"]) == (20, 19, 0.95)
    assert (rows[1]["low"], rows[1]["high"]) == wilson(19, 20, 50)
    assert (rows[2]["precision"], rows[2]["low"], rows[2]["high"]) == (None, 0, 1)
