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
NEAR_RANDOM = 0.99
"""Share of the random pairs that lie farther than the nearest ones: those that are left may be the
images' own duplicates."""


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

    It lies at most half as far as the nearest random pairs. Where nearly all copies can't be found
    so, or up to the largest eps, it is the largest that can be had; the words say what it finds.

    Args:
        copies: transform -> float32 cosines of copies to their originals.
        grid: of the settings.
        at_most: the largest eps that verdicts leave open; None without any.
    """
    same = [copies[name] for name in SAME_PICTURE if name in copies]
    random = copies.get(RANDOM_PAIRS, np.zeros(0, np.float32))
    if not same or not len(random) or not len(grid.eps):
        return _none("The calibration has no pairs to compare with.")
    found, found_random = (_found(grid, cosines) for cosines in (np.concatenate(same), random))
    nearest = float(np.quantile(random, NEAR_RANDOM))
    is_clear = grid.eps <= (1 - nearest) / 2
    if at_most is not None:
        is_clear &= grid.eps <= at_most
    if not is_clear.any():
        return _none(
            f"{percent(1 - NEAR_RANDOM)} of random pairs lie above cosine {nearest:.4g}: the "
            "images are all alike, to the model, so copies can't decide. Mark pairs.",
        )
    last = int(np.flatnonzero(is_clear)[-1])
    if not found[last]:
        return _none(
            "No copy that was only re-encoded or resized lies within the largest eps that can be "
            f"had, {grid.eps[last]:g}."
        )
    place = min(int(np.searchsorted(found, NEARLY_ALL)), last)
    low = min(int(np.searchsorted(found, MOST)), place)
    is_enough = found[place] >= NEARLY_ALL
    aim = f"{percent(NEARLY_ALL)} {'is' if is_enough else 'is not reached, though'} aimed at"
    return CalibratedEps(
        float(grid.eps[place]),
        float(grid.eps[low]),
        float(grid.eps[last]),
        f"It finds {percent(float(found[place]))} of the copies that were only re-encoded or "
        f"resized ({aim}) and {percent(float(found_random[place]))} of random pairs, of which "
        f"{percent(NEAR_RANDOM)} lie below cosine {nearest:.3f}. Marked pairs would tell more.",
    )


def _none(why: str) -> CalibratedEps:
    return CalibratedEps(None, None, None, why)


def _found(grid: CosineGrid, cosines: np.ndarray) -> np.ndarray:
    """float64 [G]: the share that each eps finds."""
    counts = np.bincount(grid.cell_of(cosines), minlength=len(grid.eps) + 1)
    share: np.ndarray = np.cumsum(counts)[:-1] / len(cosines)
    return share
