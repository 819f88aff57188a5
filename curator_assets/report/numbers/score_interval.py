"""The interval of a share of which a sample is known."""

from __future__ import annotations

import math

import numpy as np

Z = 1.959964
"""Of a 95 % interval: the normal deviate that 2.5 % lie beyond."""


def score_interval(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % score interval of a share (Wilson, 1927): its ends, float64 in [0, 1].

    Args:
        share: float64, of the sample.
        n: float64 above 0, of the sample; infinite where all is known.
    """
    z2 = Z**2 / n
    middle = (share + z2 / 2) / (1 + z2)
    half = np.sqrt(z2 * share * (1 - share) + z2**2 / 4) / (1 + z2)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def wilson(n_right: int, n: int, n_all: float = math.inf) -> tuple[float, float]:
    """The same of `n_right` of `n`; all of [0, 1] for none seen.

    Of `n_all` there are, the `n` say as much as more would say of an endless number: the variance
    of a share that is drawn from few without putting back is smaller by (n_all - n) / (n_all - 1).
    """
    if not n:
        return 0.0, 1.0
    of_few = (n_all - 1) / (n_all - n) if n < n_all < math.inf else 1.0 if n < n_all else math.inf
    low, high = score_interval(np.array(n_right / n), np.array(n * of_few))
    return float(low), float(high)


def is_refuted(n_right: np.ndarray, n: np.ndarray, wished: float) -> np.ndarray:
    """bool: whether the upper end of the interval of each `n_right` of `n` is below `wished`.

    In the form of the test that the interval inverts, which holds for none seen as well.
    """
    refuted: np.ndarray = n * wished - n_right > Z * np.sqrt(n * wished * (1 - wished))
    return refuted
