"""Cosine bands: the removed images by how far they lie from the kept one.

Legend: *P pairs, B bands*.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

N_WITHIN, N_BEYOND = 4, 2
IDENTICAL = 0
"""The number of the band of cosine 1."""


@dataclass(frozen=True)
class Band:
    """Pairs with `eps_from` < 1 - cosine <= `eps_to`; the first band holds just cosine 1."""

    eps_from: float
    eps_to: float
    removed: bool
    """Whether the chosen eps removes them."""

    @property
    def name(self) -> str:
        """Its cosines, in words."""
        if self.eps_to == 0:
            return "identical"
        return f"cosine {1 - self.eps_to:.4g} to {1 - self.eps_from:.4g}"


def make_bands(eps: float, max_eps: float) -> list[Band]:
    """`identical`, equal steps to the chosen eps, equal steps from there to `max_eps`."""
    within = [eps * i / N_WITHIN for i in range(N_WITHIN + 1)]
    beyond = [eps + (max_eps - eps) * i / N_BEYOND for i in range(N_BEYOND + 1)]
    edges = [min(float(f"{edge:.4g}"), max_eps) for edge in (*within[:-1], *beyond)]
    edges[N_WITHIN], edges[-1] = eps, max_eps
    steps = sorted(set(edges))
    return [Band(0, 0, True), *(Band(low, high, high <= eps) for low, high in pairwise(steps))]


def band_of(cosines: np.ndarray, bands: list[Band]) -> np.ndarray:
    """int64 [P]: the band of each pair; B, one past the last, for pairs beyond them all.

    Args:
        cosines: float32 [P].
        bands: of `make_bands`.
    """
    least = np.array([1 - band.eps_to for band in bands], np.float32)  # descending
    found: np.ndarray = np.searchsorted(-least, -cosines.astype(np.float32), side="left")
    return found
