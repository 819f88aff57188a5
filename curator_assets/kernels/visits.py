"""Visits of images to cells, those of one image after those of another in one array.

Legend: M images, V visits, n chosen images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def places_of_visits(starts: NDArray[np.integer], counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64: where the visits of some images lie, one image's after another's.

    Args:
        starts: integer [n], where each image's begin.
        counts: integer [n], how many it has.
    """
    before = np.cumsum(counts, dtype=np.int64) - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())


def members_of(
    cells: NDArray[np.integer],
    home: NDArray[np.int32],
    n_visits: NDArray[np.integer],
    visits: NDArray[np.int32],
) -> NDArray[np.int64]:
    """int64, ascending: which images live in some cells or visit one.

    Args:
        cells: integer [C].
        home: int32 [M], the cell of each image.
        n_visits: integer [M].
        visits: int32 [V].
    """
    takes_part = np.isin(home, cells)
    visitor = np.repeat(np.arange(len(home)), n_visits)
    takes_part[visitor[np.isin(visits, cells)]] = True
    return np.flatnonzero(takes_part)
