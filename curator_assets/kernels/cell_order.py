"""The order in which cells are numbered: near cells get near numbers.

Legend: K cells, D embedding width.

A group of cells is a run of their numbers. An image visits cells near its own, so the fewer
neighbours a run parts, the fewer groups does an image touch (docs/log.md has the orders tried).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def chain_of_neighbours(centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """Cells in the order of a chain: from the first, always on to the nearest that is left.

    Of several that are as near, the first is taken. Costs ``K**2 D`` products.

    Args:
        centroids: float32 [K, D], unit L2 norm.

    Returns:
        int64 [K], each of 0 to K - 1 once.
    """
    order = np.zeros(len(centroids), np.int64)
    is_left = np.ones(len(centroids), np.bool_)
    for i in range(1, len(centroids)):
        last = order[i - 1]
        is_left[last] = False
        order[i] = np.where(is_left, centroids @ centroids[last], -np.inf).argmax()
    return order
