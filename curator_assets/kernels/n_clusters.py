"""How many cells the search for near-duplicates is divided into.

Legend: N images, K cells.
"""

from __future__ import annotations

import math


def choose_n_clusters(
    n_images: int, *, skew: float, visits: float, min_images_per_cluster: int
) -> int:
    """Number of cells that makes assignment and search together cheapest.

    Assignment costs ``N K`` products, the search ``skew * visits * N**2 / K``; they balance at
    ``K = sqrt(skew * visits * N)``: about 3,000 at 1 M images and 100,000 at 1 B for
    ``skew * visits = 10``.

    Args:
        n_images: N.
        skew: mean squared cell size over the squared mean, 2 to 4 for CLIP vectors.
        visits: cells that an image is compared in.
        min_images_per_cluster: bounds K for small N.

    Returns:
        K, at least 1.
    """
    balanced = round(math.sqrt(skew * visits * n_images))
    return max(1, min(balanced, n_images // min_images_per_cluster))
