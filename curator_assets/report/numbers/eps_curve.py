"""How many images each eps would remove, and which more than the chosen one does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa

MAX_PAIRS = 20_000_000
MAX_DENSE_MEMBERS = 20_000
N_EPS = 13


class Resolves(Protocol):
    """What decides at any eps which image stands for which."""

    def n_removed(self, eps: float) -> int:
        """How many images are removed at cosine >= 1 - `eps`."""

    def removals(self, eps: float) -> Iterator[pa.Table]:
        """Who is removed, as tables of `duplicate_groups`, one a shard."""


def too_many(n_pairs: int, n_dense: int) -> str | None:
    """Why the pairs are not resolved at other eps, in words; None if they can be."""
    if n_pairs > MAX_PAIRS:
        return (
            f"{n_pairs:,} pairs are stored, above {MAX_PAIRS:,}: only the chosen eps was resolved"
        )
    if n_dense > MAX_DENSE_MEMBERS:
        return (
            f"{n_dense:,} images lie in dense clumps, above {MAX_DENSE_MEMBERS:,}: only the "
            "chosen eps was resolved"
        )
    return None


def eps_grid(eps: float, max_eps: float) -> list[float]:
    """The eps to resolve at: from 0 to `max_eps` in equal steps, and the chosen one."""
    steps = [float(f"{step:.4g}") for step in np.linspace(0, max_eps, N_EPS)[:-1]]
    return sorted({*steps, max_eps, eps})


def n_removed_at(resolver: Resolves, grid: Sequence[float]) -> dict[float, int]:
    """How many images each eps of a grid removes, by resolving the pairs anew."""
    return {eps: resolver.n_removed(eps) for eps in grid}


def eps_curve(n_removed: Mapping[float, int], n_taking_part: int) -> pl.DataFrame:
    """The table `eps_curve`."""
    rows = [(eps, n, n / max(n_taking_part, 1)) for eps, n in n_removed.items()]
    schema = {"eps": pl.Float64, "n_removed": pl.Int64, "removed_fraction": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")
