"""How many more pairs to mark, and which, until an eps is sure."""

from __future__ import annotations

import numpy as np

from curator_assets.report.numbers.marked_precision import MarkedPrecision, effective_marks
from curator_assets.report.numbers.score_interval import score_interval

_STEPS = 50  # a step adds at least this share of the marks, so that there are few of them


def marks_needed(found: MarkedPrecision, place: int, wished: float) -> tuple[int, list[slice]]:
    """How many more marks, all of them duplicates, make an eps sure at 95 %, and in which strata.

    They go one after another to where they narrow the interval most, so that chosen otherwise a few
    more are needed: 2 to 7 % of pairs drawn from these strata together, up to 55 % of each alike.
    If all that are left are not enough, they are meant.

    Args:
        found: what the marks say.
        place: of the eps on the grid.
        wished: least precision.
    """
    pairs, left = found.n[:, place, None], found.n_left[:, place, None].copy()
    marked, right = found.n_marked[:, place, None].copy(), found.n_right[:, place, None].copy()
    more = np.zeros(len(pairs))
    while left.any() and _low(pairs, marked, left, right) < wished:
        unknown = left * pairs
        gain = unknown / np.maximum(marked, 0.5) - unknown / np.maximum(marked + 1, 1)
        best = int(np.argmax(gain))
        step = min(left[best, 0], max(1, marked.sum() // _STEPS))
        left[best] -= step
        for counts in (marked[best], right[best], more[best : best + 1]):
            counts += step
    cells = [cells for cells, n in zip(found.strata, more, strict=True) if n]
    return int(more.sum()), [slice(one.start, min(one.stop, place + 1)) for one in cells]


def _low(pairs: np.ndarray, marked: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    share = np.divide(right, marked, out=np.zeros_like(right), where=marked > 0)
    weighed = (pairs * share).sum(axis=0) / pairs.sum(axis=0)
    return float(score_interval(weighed, effective_marks(pairs, marked, left))[0][0]) + 1e-12
