"""Near-duplicate pairs by plain products: the truth that the search's kernels are held against.

Legend: N images, Q queries, P pairs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.found_pairs import Pairs

TIE = 1e-6
BRUTE_ROWS, BRUTE_COLUMNS = 1024, 2**16

Array = NDArray[Any]


@dataclass
class Clock:
    """CPU and wall seconds of a block."""

    cpu: float = 0.0
    wall: float = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    """A clock that holds the cost of the block once it is left."""
    clock, cpu, wall = Clock(), time.process_time(), time.perf_counter()
    yield clock
    clock.cpu, clock.wall = time.process_time() - cpu, time.perf_counter() - wall


@dataclass(frozen=True)
class Reference:
    """Pairs of some query rows with all rows, by plain float32 products.

    ``cpu`` is the cost of comparing all N rows, scaled where the queries are a sample.
    """

    queries: Array  # int64 [Q], ascending
    a: Array  # int64 [P], a < b
    b: Array
    cosine: Array
    cpu: float
    complete: bool

    def at(self, eps: float) -> tuple[Array, Array, int]:
        """Pairs (a, b) above the threshold, ties left out, and the number of ties."""
        tie = np.abs(self.cosine - (1 - eps)) <= TIE
        near = (self.cosine >= 1 - eps) & ~tie
        return self.a[near], self.b[near], int(tie.sum())


def brute_force(vectors: Array, queries: Array, max_eps: float) -> Reference:
    """Every pair of a query at cosine >= 1 - max_eps, once."""
    n_images, threshold = len(vectors), 1 - max_eps - TIE
    complete = len(queries) == n_images
    everything = torch.from_numpy(vectors)
    asked = np.zeros(n_images, np.bool_)
    asked[queries] = True
    found = []
    with timed() as clock:
        for start in range(0, len(queries), BRUTE_ROWS):
            rows = queries[start : start + BRUTE_ROWS]
            block = everything[rows]
            for left in range(start if complete else 0, n_images, BRUTE_COLUMNS):
                products = block @ everything[left : left + BRUTE_COLUMNS].T
                row, column = (products >= threshold).nonzero(as_tuple=True)
                a, b = rows[row.numpy()], left + column.numpy()
                once = (a < b) | ((b < a) & ~asked[b])
                value = products[row, column].numpy()[once]
                found.append((np.minimum(a, b)[once], np.maximum(a, b)[once], value))
    a, b, cosine = (np.concatenate(part) for part in zip(*found, strict=True))
    cpu = clock.cpu if complete else clock.cpu * n_images / len(queries) / 2
    return Reference(queries, a, b, cosine, cpu, complete)


def found_of(pairs: Pairs, home: Array, a: Array, b: Array) -> NDArray[np.bool_]:
    """Which pairs (a, b) are listed in ``pairs`` or lie in one of its pools."""
    stride = int(max(home.max(), pairs.dense.cell.max(initial=0))) + 1
    n_images = len(home)
    listed = np.isin(a * n_images + b, pairs.a * n_images + pairs.b)
    members = pairs.dense.row * stride + pairs.dense.cell
    for x, y in ((a, b), (b, a)):  # x at home, y in the same pool
        listed |= np.isin(x * stride + home[x], members) & np.isin(y * stride + home[x], members)
    return listed
