"""Which image stands for which: the greedy resolution with its guarantee, and the peers' rule.

Legend: N images, P stored pairs, E edges, M memberships of dense pools.

Greedy: go through the images in a total order; an image that no kept one has removed is kept, and
removes its near-duplicates. So every removed image has a kept one within eps, no two kept images
are within eps, and the answer depends on the order alone. Images with identical vectors or
identical bytes are one node, whose place in the order is that of its best live member.

It is one pass over the edges in order of their earlier nodes, which need not fit into memory: a
byte a node is held.

As in SemDeDup and NeMo Curator, the peers' rule is not greedy: an image is removed if any earlier
one of its cell is within eps, so a removed image still removes others, and the one that stands for
another (the nearest earlier one) may itself be removed.

Pairs between two members of a dense pool are not listed; they are computed when a kept image's
neighbours, or the nearest image before one, are asked for. The verdicts are the same bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.edges import edge_records, strongest_by_second
from curator_assets.kernels.nodes import Nodes, Numbers
from curator_assets.kernels.sorted_runs import Records, Scratch, SortedRuns

if TYPE_CHECKING:
    from curator_assets.kernels.dense import DensePools

_LOOP_CHUNK = 100_000
_REMOVED, _MAYBE = 1, 2


@dataclass(frozen=True)
class Graph:
    """Near-duplicates between nodes, resolved at any threshold.

    Attributes:
        nodes: whose images are resolved.
        edges: by `first`, at least all those at or above the thresholds that are asked for.
        min_cosine: 1 - eps, compared as float32.
        pools: further edges, of that threshold, that are not listed; if any.
        scratch: where what does not fit into memory lies.
    """

    nodes: Nodes
    edges: SortedRuns
    min_cosine: float
    pools: DensePools | None
    scratch: Scratch

    def near(self) -> Iterator[Records]:
        """The listed edges that reach the threshold, in order of the earlier node."""
        for edges in self.edges.pieces():
            yield edges[edges["cosine"] >= np.float32(self.min_cosine)]


def removed_greedily(graph: Graph) -> NDArray[np.uint8]:
    """All nodes but the first maximal independent set: [n_nodes], 1 for one that is removed."""
    sweep = _Sweep(graph)
    if graph.pools:
        for member, node in graph.pools.by_priority():
            sweep.go_on(node)
            if not sweep.removed[node]:
                sweep.flags[graph.pools.later_neighbours(member, sweep.flags)] = 1
    sweep.go_on(graph.nodes.n_nodes)
    return sweep.flags


class _Sweep:
    """Nodes are removed by the edges of those that are kept, in order.

    Attributes:
        flags: uint8 [n_nodes], not 0 if a node is removed; final for nodes that were passed.
        removed: the same bytes.
    """

    def __init__(self, graph: Graph) -> None:
        self.flags = np.zeros(graph.nodes.n_nodes, np.uint8)
        self.removed = self.flags.data  # in a loop twice as fast as the array
        self._pieces = graph.near()
        self._sources = self._starts = self._ends = np.zeros(0, np.int64)
        self._targets: Numbers = self._sources
        self._done = 0

    def go_on(self, stop: int) -> None:
        """Follow the edges of all nodes below `stop`."""
        while True:
            left = self._sources[self._done :]
            end = self._done + int(np.searchsorted(left, left.dtype.type(stop)))
            for start in range(self._done, end, _LOOP_CHUNK):
                self._follow(slice(start, min(start + _LOOP_CHUNK, end)))
            self._done = end
            if end < len(self._sources):
                return
            edges = next(self._pieces, None)
            if edges is None:
                return
            first = np.ascontiguousarray(edges["first"])
            changes = np.ones(len(first), np.bool_)
            changes[1:] = first[1:] != first[:-1]
            self._starts = np.flatnonzero(changes)
            self._ends = np.append(self._starts[1:], len(first))
            self._sources, self._done = first[self._starts], 0
            self._targets = np.ascontiguousarray(edges["second"])

    def _follow(self, part: slice) -> None:
        """Of some sources most are decided at once: those that no edge of these leads to."""
        flags, sources = self.flags, self._sources[part]
        starts, ends = self._starts[part], self._ends[part]
        targets = self._targets[starts[0] : ends[-1]]
        flags[targets] |= _MAYBE
        state = flags[sources]
        flags[targets] &= _REMOVED
        flags[targets[np.repeat(state == 0, ends - starts)]] = _REMOVED
        rest = np.flatnonzero(state == _MAYBE)
        removed, targets = self.removed, self._targets
        spans = sources[rest].tolist(), starts[rest].tolist(), ends[rest].tolist()
        for source, start, end in zip(*spans, strict=True):
            if not removed[source]:
                flags[targets[start:end]] = _REMOVED


def greedy_links(graph: Graph, removed: NDArray[np.uint8]) -> Iterator[Records]:
    """Edges from kept nodes to those that they remove, the strongest of each among them.

    Args:
        graph: that was resolved.
        removed: of `removed_greedily`.
    """
    for edges in graph.near():
        yield edges[removed[edges["first"]] == 0]
    if graph.pools:
        is_removed = removed[graph.pools.node] == 1
        yield edge_records(*graph.pools.strongest_links(~is_removed, is_removed))


def semdedup_links(graph: Graph) -> Iterator[Records]:
    """The peers' rule: edges to removed nodes, the strongest of each among them.

    Args:
        graph: of pairs within one cell each.
    """
    yield from graph.near()
    if graph.pools:
        everyone = np.ones(len(graph.pools.node), np.bool_)
        yield edge_records(*graph.pools.strongest_links(everyone, everyone))


def count_linked(graph: Graph) -> int:
    """How many nodes the peers' rule removes."""
    removed = np.zeros(graph.nodes.n_nodes, np.bool_)
    for edges in semdedup_links(graph):
        removed[edges["second"]] = True
    return int(np.count_nonzero(removed))


def verdicts(graph: Graph, links: Iterator[Records], *, copies_follow: bool) -> Iterator[Records]:
    """The removed images: `row`, `kept` (row of the one that stands for it) and their `cosine`.

    Each removed node names the nearest of those that remove it, ties to the earlier. A copy is
    removed for the best image of its node at cosine 1.0; with ``copies_follow``, if that one is
    itself removed, for the image that stands for it.

    Args:
        graph: that was resolved.
        links: edges to removed nodes.
        copies_follow: see above.
    """
    nodes, by_second = graph.nodes, SortedRuns("second", graph.scratch)
    for edges in links:
        by_second.append(_of_type(edges, nodes.node.dtype))
    done = 0  # copies
    for piece in by_second.pieces():
        link = strongest_by_second(piece)
        node, kept = link["second"], nodes.rows(link["first"])
        yield _verdict_records(nodes.rows(node), kept, link["cosine"])
        end = int(np.searchsorted(nodes.copy_node, node[-1], side="right"))
        copy_node, copy_row = nodes.copy_node[done:end], nodes.copy_row[done:end]
        at = np.searchsorted(node, copy_node)
        follow = (node[at] == copy_node) & copies_follow
        best, one = nodes.rows(copy_node), np.float32(1.0)
        yield _verdict_records(
            copy_row,
            np.where(follow, kept[at], best),
            np.where(follow, link["cosine"][at], one),
        )
        done = end
    best = nodes.rows(nodes.copy_node[done:])
    yield _verdict_records(nodes.copy_row[done:], best, np.ones(len(best), np.float32))


def _of_type(edges: Records, node_type: np.dtype[np.integer]) -> Records:
    """Edges with nodes of this type: those of pools are int64."""
    fields = [("first", node_type), ("second", node_type), ("cosine", np.float32)]
    return edges.astype(fields, copy=False)


def _verdict_records(rows: Numbers, kept: Numbers, cosine: NDArray[np.float32]) -> Records:
    fields = [("row", rows.dtype), ("kept", rows.dtype), ("cosine", np.float32)]
    records = np.empty(len(rows), fields)
    records["row"], records["kept"], records["cosine"] = rows, kept, cosine
    return records
