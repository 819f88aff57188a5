"""How many images are removed at each of several eps, in one pass over the edges.

Legend: E edges, T thresholds.

At each threshold a node is kept if no kept earlier one reaches it. An edge speaks for all
thresholds up to its cosine, and whether a node is removed at a threshold depends on that threshold
alone; so a node holds one bit a threshold, and an edge passes on the bits at which its earlier end
is kept. The edges come in the order of their earlier ends, hence a node's bits are final before its
own edges are met. The counts are exact, those of a resolution at each threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.nodes import Numbers
from curator_assets.kernels.sorted_runs import Records

MAX_THRESHOLDS = 16
_COUNTED_NODES, _LOOP_EDGES = 1 << 22, 100_000


def count_removed_nodes(
    n_nodes: int, edges: Iterable[Records], min_cosines: Sequence[float], *, greedy: bool
) -> NDArray[np.int64]:
    """How many nodes are removed at each threshold; two bytes a node are held.

    Args:
        n_nodes: nodes, numbered by priority: 0 is kept first.
        edges: blocks of records of edges, ascending by their earlier end from the first to the
            last; an edge may come twice.
        min_cosines: T thresholds, descending, compared as float32.
        greedy: whether a removed node removes none; else, as in SemDeDup, it does.

    Returns:
        int64 [T].

    Raises:
        ValueError: more than `MAX_THRESHOLDS`, or they do not descend.
    """
    thresholds = np.asarray(min_cosines, np.float32)
    if len(thresholds) > MAX_THRESHOLDS or (np.diff(thresholds) > 0).any():
        raise ValueError(
            f"expected at most {MAX_THRESHOLDS} descending thresholds, got {list(min_cosines)}"
        )
    removed = np.zeros(n_nodes, np.uint16)
    for block in edges:
        reached = _bits_reached(block["cosine"], thresholds)
        near = np.flatnonzero(reached)
        if greedy:
            _sweep(removed, block["first"][near], block["second"][near], reached[near])
        else:
            np.bitwise_or.at(removed, block["second"][near], reached[near])
    counts = np.zeros(len(thresholds), np.int64)
    for start in range(0, n_nodes, _COUNTED_NODES):
        part = removed[start : start + _COUNTED_NODES]
        counts += [np.count_nonzero(part & np.uint16(1 << bit)) for bit in range(len(thresholds))]
    return counts


def _bits_reached(
    cosine: NDArray[np.float32], thresholds: NDArray[np.float32]
) -> NDArray[np.uint16]:
    """uint16 [E]: bit t is set where the cosine is at least the threshold t."""
    n = len(thresholds)
    first = np.searchsorted(-thresholds, -cosine, side="left")  # the highest that it reaches
    bits = np.array([(1 << n) - (1 << t) for t in range(n + 1)], np.uint16)
    return bits[first]


def _sweep(
    removed: NDArray[np.uint16],
    first: Numbers,
    second: Numbers,
    reached: NDArray[np.uint16],
) -> None:
    """Remove, at the thresholds at which an edge's earlier end is kept, the later one."""
    bits = removed.data  # its items are plain numbers, quicker than NumPy's
    for start in range(0, len(first), _LOOP_EDGES):
        part = slice(start, start + _LOOP_EDGES)
        edges = first[part].tolist(), second[part].tolist(), reached[part].tolist()
        for a, b, thresholds in zip(*edges, strict=True):
            bits[b] |= thresholds & ~bits[a]
