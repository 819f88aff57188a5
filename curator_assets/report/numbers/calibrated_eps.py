"""The eps that altered copies of the project's own images speak for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curator_assets.report.numbers.cosine_grid import CosineGrid
from curator_assets.report.numbers.recommendation_words import percent
from curator_assets.storage.calibration import RANDOM_PAIRS

SAME_PICTURE = ("JPEG quality 85", "JPEG quality 60", "resize to 75 %", "resize to 50 %")
"""Copies that leave the picture the same: re-encoded and resized ones."""

NEARLY_ALL, MOST = 0.95, 0.90
MAX_RANDOM = 0.001
"""Share of the random pairs, the images' own duplicates among them, that an eps may find."""


@dataclass(frozen=True)
class CalibratedEps:
    """An eps, from which to which it may be chosen, and why."""

    eps: float | None
    low: float | None
    high: float | None
    why: str


def calibrated_eps(
    copies: Mapping[str, np.ndarray], grid: CosineGrid, at_most: float | None
) -> CalibratedEps:
    """The smallest eps that finds `NEARLY_ALL` of the copies that leave the picture the same.

    It finds at most `MAX_RANDOM` of the random pairs. Where nearly all copies can't be found so, or
    up to the largest eps, it is the largest that can be had, and the words say what it finds.

    Args:
        copies: transform -> float32 cosines of copies to their originals.
        grid: of the settings.
        at_most: the largest eps that verdicts leave open; None without any.
    """
    same = [copies[name] for name in SAME_PICTURE if name in copies]
    random = copies.get(RANDOM_PAIRS, np.zeros(0, np.float32))
    if not same or not len(random) or not len(grid.eps):
        return CalibratedEps(None, None, None, "The calibration has no pairs to compare with.")
    found, found_random = (_found(grid, cosines) for cosines in (np.concatenate(same), random))
    is_clear = found_random <= MAX_RANDOM
    if at_most is not None:
        is_clear &= grid.eps <= at_most
    if not is_clear.any():
        return CalibratedEps(
            None,
            None,
            None,
            f"Even at eps {grid.eps[0]:g} {percent(float(found_random[0]))} of random pairs are "
            "found: the images hold many duplicates, so copies can't decide. Mark pairs.",
        )
    last = int(np.flatnonzero(is_clear)[-1])
    place = min(int(np.searchsorted(found, NEARLY_ALL)), last)
    low = min(int(np.searchsorted(found, MOST)), place)
    return CalibratedEps(
        float(grid.eps[place]),
        float(grid.eps[low]),
        float(grid.eps[last]),
        f"It finds {percent(float(found[place]))} of the copies that were only re-encoded or "
        f"resized ({percent(NEARLY_ALL)} is aimed at) and {percent(float(found_random[place]))} of "
        f"random pairs, of which 99 % lie below cosine {float(np.quantile(random, 0.99)):.3f}; "
        "marked pairs would tell more.",
    )


def _found(grid: CosineGrid, cosines: np.ndarray) -> np.ndarray:
    """float64 [G]: the share that each eps finds."""
    counts = np.bincount(grid.cell_of(cosines), minlength=len(grid.eps) + 1)
    share: np.ndarray = np.cumsum(counts)[:-1] / len(cosines)
    return share
