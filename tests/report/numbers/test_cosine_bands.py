import numpy as np

from curator_assets.report.numbers.cosine_bands import band_of, make_bands


def test_bands_are_bounded_by_eps_and_max_eps():
    bands = make_bands(0.04, 0.06)  # identical, to .01, .02, .03, .04, then to .05 and .06
    assert [band.eps_to for band in bands] == [0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    assert [band.removed for band in bands] == [True] * 5 + [False] * 2
    cosines = np.array([1, 0.9999, 0.99, 0.9899, 0.96, 0.9599, 0.94, 0.9], np.float32)
    assert band_of(cosines, bands).tolist() == [0, 1, 1, 2, 4, 5, 6, 7]
    assert [(b.eps_from, b.eps_to) for b in make_bands(0, 0)] == [(0, 0)]
    assert [b.eps_to for b in make_bands(0, 0.02)] == [0, 0.01, 0.02]
    assert [b.eps_to for b in make_bands(0.02, 0.02)] == [0, 0.005, 0.01, 0.015, 0.02]
    assert make_bands(0.123456, 0.123458)[-1].eps_to == 0.123458  # and no rounded one beyond
