"""How many images each eps would remove."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import polars as pl
import pyarrow as pa

MAX_DENSE_MEMBERS = 20_000
MAX_STEPS = 14  # with the chosen eps as many values as one sweep takes


class Resolves(Protocol):
    """What decides at any eps which image stands for which."""

    def n_removed_at(self, grid: Sequence[float]) -> Mapping[float, int]:
        """How many images each eps of an ascending grid removes."""

    def removals(self, eps: float) -> Iterator[pa.Table]:
        """Who is removed, a table of `duplicate_groups` a shard, in order of arrival."""


def too_many(n_dense: int) -> str | None:
    """Why the curve has just two points, in words; None if it has them all.

    Pairs that are listed are counted at all eps in one pass, however many there are; those within
    dense clumps are multiplied out, and the smaller the eps the more of them.
    """
    if n_dense > MAX_DENSE_MEMBERS:
        return (
            f"{n_dense:,} images lie in dense clumps, above {MAX_DENSE_MEMBERS:,}: only the "
            "chosen eps and max_eps were resolved"
        )
    return None


def eps_grid(eps: float, max_eps: float) -> list[float]:
    """The eps to resolve at: from 0 to `max_eps` in equal round steps, and the chosen one."""
    if not max_eps:
        return [0.0]
    digit = 10.0 ** math.floor(math.log10(max_eps / MAX_STEPS))
    step = next(n * digit for n in (1, 2, 2.5, 5, 10) if max_eps / (n * digit) <= MAX_STEPS)
    steps = (float(f"{i * step:.4g}") for i in range(MAX_STEPS))
    return sorted({*(one for one in steps if one < max_eps), max_eps, eps})


def eps_curve(n_removed: Mapping[float, int], n_taking_part: int) -> pl.DataFrame:
    """The table `eps_curve`."""
    rows = [(eps, n, n / max(n_taking_part, 1)) for eps, n in n_removed.items()]
    schema = {"eps": pl.Float64, "n_removed": pl.Int64, "removed_fraction": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")
