"""Edges between nodes that are numbered by priority: earlier ones remove later ones.

Legend: E edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.nodes import Nodes, Numbers
from curator_assets.kernels.sorted_runs import Records

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Nodes int64 [E], the earlier and the later, and float32 [E] cosine."""


def joined(*parts: Edges) -> Edges:
    """All edges: nodes int64 [E] (earlier, later) and float32 [E] cosine."""
    empty = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    first, second, cosine = zip(empty, *parts, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(cosine)


def edge_records(first: Numbers, second: Numbers, cosine: NDArray[np.float32]) -> Records:
    """Edges as records of `first`, `second` and `cosine`."""
    records = np.empty(
        len(first), [("first", first.dtype), ("second", first.dtype), ("cosine", np.float32)]
    )
    records["first"], records["second"], records["cosine"] = first, second, cosine
    return records


def edges_of_pairs(nodes: Nodes, a: Numbers, b: Numbers, cosine: NDArray[np.float32]) -> Records:
    """Pairs of rows as records of edges between different nodes that take part."""
    node_a, node_b = nodes.node[a], nodes.node[b]
    first, second = np.minimum(node_a, node_b), np.maximum(node_a, node_b)
    takes_part = (first != second) & (second < len(nodes.node))
    return edge_records(first[takes_part], second[takes_part], cosine[takes_part])


def strongest(
    n_nodes: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each node the edge to an earlier one of highest cosine, ties to the earliest.

    Args:
        n_nodes: nodes are below it.
        first: int64 [E].
        second: int64 [E].
        cosine: float32 [E].

    Returns:
        int64 [n_nodes], the earlier node, -1 without an edge; float32 [n_nodes], NaN without.
    """
    kept_by, value = np.full(n_nodes, -1), np.full(n_nodes, np.nan, np.float32)
    edges = strongest_by_second(edge_records(first, second, cosine)[np.argsort(second)])
    kept_by[edges["second"]], value[edges["second"]] = edges["first"], edges["cosine"]
    return kept_by, value


def strongest_by_second(edges: Records) -> Records:
    """Of edges in order of the later node, for each such node the one that `strongest` names."""
    if not len(edges):
        return edges
    second, first = edges["second"], edges["first"]
    starts = np.flatnonzero(np.concatenate([[True], second[1:] != second[:-1]]))
    group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(edges)))
    bits = np.ascontiguousarray(edges["cosine"]).view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
    is_top = ascending == np.maximum.reduceat(ascending, starts)[group]
    lost = np.array(np.iinfo(first.dtype).max, first.dtype)
    best = edges[starts]
    best["first"] = np.minimum.reduceat(np.where(is_top, first, lost), starts)
    best["cosine"] = edges["cosine"][is_top][np.searchsorted(group[is_top], np.arange(len(starts)))]
    return best
