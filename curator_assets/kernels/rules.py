"""Filter rules on columns of numbers: *N samples*."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def first_broken_rule(
    columns: Sequence[np.ndarray], minima: Sequence[float | None], maxima: Sequence[float | None]
) -> np.ndarray:
    """Which rule each sample breaks first.

    Args:
        columns: a float [N] array a rule; NaN breaks every rule on its column.
        minima: smallest value that is kept, by rule; None for no bound.
        maxima: largest value that is kept, by rule; None for no bound.

    Returns:
        int64 [N]: the first broken rule's number, or the number of rules where none is broken.
    """
    broken = []
    for column, low, high in zip(columns, minima, maxima, strict=True):
        above = column >= (-np.inf if low is None else low)
        below = column <= (np.inf if high is None else high)
        broken.append(~(above & below))
    never = np.ones((1, len(columns[0]) if columns else 0), dtype=bool)
    numbers: np.ndarray = np.argmax(np.vstack([*broken, never]), axis=0)
    return numbers
