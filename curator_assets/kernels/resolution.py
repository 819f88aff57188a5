"""Which image stands for which: the greedy resolution with its guarantee, and the peers' rule.

Legend: N images, P stored pairs, E edges.

Greedy: go through the images in a total order; an image that no kept one has removed is kept, and
removes its near-duplicates. So every removed image has a kept one within eps, no two kept images
are within eps, and the answer depends on the order alone. Images with identical vectors or
identical bytes are one node, whose place in the order is that of its best live member.

Nodes are numbered by priority, so "earlier" is "smaller" throughout.

Pairs between two members of a dense pool are not listed; they are computed when a kept image's
neighbours, or the nearest image before one, are asked for. The verdicts are the same bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.duplicates import rank_of
from curator_assets.kernels.edges import Edges, joined, strongest
from curator_assets.kernels.found_pairs import DenseMembers, Pairs

if TYPE_CHECKING:
    from curator_assets.kernels.cell_group import Vectors
    from curator_assets.kernels.dense import DensePools

_LOOP_CHUNK = 1_000_000


@dataclass(frozen=True)
class Resolution:
    """Verdict on each of N images.

    Attributes:
        kept_by: int64 [N], row of the image that stands for a removed one; -1 where the image is
            kept or takes no part.
        cosine: float32 [N], cosine to that image, 1.0 for identical ones; NaN where kept_by is -1.
    """

    kept_by: NDArray[np.int64]
    cosine: NDArray[np.float32]

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Bool [N]."""
        return self.kept_by >= 0


def resolve(
    pairs: Pairs,
    *,
    content: NDArray[np.generic] | None,
    alive: NDArray[np.bool_],
    order: NDArray[np.int64],
    min_cosine: float,
    vectors: Vectors | None = None,
    device: str = "cpu",
) -> Resolution:
    """The greedy resolution; each removed image names the nearest kept image before it.

    With the order of arrival, new images at its end never change an old verdict.

    Args:
        pairs: pairs of the N images, at least all those with cosine >= ``min_cosine``.
        content: any sortable dtype [N], equal where the images' bytes are; None to ignore bytes.
        alive: bool [N], False for images that take no part (they failed a filter).
        order: int64 [N], a permutation: the image to keep first comes first.
        min_cosine: 1 - eps, compared as float32.
        vectors: float32 [n, D] of int64 [n] rows, at most 8,192 at a time: the embeddings that
            were searched. Needed, and called, only if ``pairs`` has dense members.
        device: torch device of the products with them; does not change the result.

    Returns:
        The verdicts. A removed image names a kept one within eps of it, or identical to it;
        ties in cosine go to the earlier image.

    Raises:
        ValueError: lengths differ, ``order`` is no permutation, or ``vectors`` are needed.
    """
    copies = [(pairs.a[pairs.identical], pairs.b[pairs.identical])]
    if content is not None:
        if len(content) != len(alive):
            raise ValueError(f"{len(content)} content values for {len(alive)} images")
        _, first, inverse = np.unique(content, return_index=True, return_inverse=True)
        copies.append((first[inverse], np.arange(len(alive))))
    classes = identity_classes(len(alive), copies)
    node = _node_of_image(classes, alive, order)
    near = pairs.cosine >= np.float32(min_cosine)
    edges = _edges(node, pairs.a[near], pairs.b[near], pairs.cosine[near])
    pools = _pools(pairs.dense, node, vectors, min_cosine, device)
    by_node, by_cosine = resolve_greedy(len(alive), *edges, pools)
    return _verdicts(node, by_node, by_cosine, alive, order, copies_follow=True)


def resolve_semdedup(
    pairs: Pairs,
    *,
    home: NDArray[np.int32],
    alive: NDArray[np.bool_],
    order: NDArray[np.int64],
    min_cosine: float,
    vectors: Vectors | None = None,
    device: str = "cpu",
) -> Resolution:
    """The peers' rule: remove an image if any earlier one of its cell is within eps.

    As in SemDeDup and NeMo Curator: not greedy, so a removed image still removes others, and
    ``kept_by`` (the nearest earlier image, ties to the earlier) may itself be removed.

    Args:
        pairs: pairs of the N images, at least all those with cosine >= ``min_cosine``.
        home: int32 [N], the cell of each image.
        alive: bool [N], False for images that take no part.
        order: int64 [N], a permutation, such as that of ``priority_order("hard", ...)``.
        min_cosine: 1 - eps, compared as float32.
        vectors: float32 [n, D] of int64 [n] rows, at most 8,192 at a time: the embeddings that
            were searched. Needed, and called, only if ``pairs`` has dense members.
        device: torch device of the products with them; does not change the result.

    Returns:
        The verdicts.

    Raises:
        ValueError: lengths differ, ``order`` is no permutation, or ``vectors`` are needed.
    """
    if len(home) != len(alive):
        raise ValueError(f"{len(home)} homes for {len(alive)} images")
    near = (home[pairs.a] == home[pairs.b]) & (pairs.cosine >= np.float32(min_cosine))
    same = near & pairs.identical
    classes = identity_classes(len(alive), [(pairs.a[same], pairs.b[same])])
    node = _node_of_image(classes, alive, order)
    edges = _edges(node, pairs.a[near], pairs.b[near], pairs.cosine[near])
    pools = _pools(pairs.dense.residents(), node, vectors, min_cosine, device)
    if pools:
        everyone = np.ones(len(pools.node), np.bool_)
        edges = joined(edges, pools.strongest_links(everyone, everyone))
    by_node, by_cosine = strongest(len(alive), *edges)
    return _verdicts(node, by_node, by_cosine, alive, order, copies_follow=False)


def resolve_greedy(
    n_nodes: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    cosine: NDArray[np.float32],
    pools: DensePools | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first maximal independent set of a graph, and what stands for each other node.

    One pass over the kept nodes and their edges, hence linear, also on a long chain.

    Args:
        n_nodes: nodes, numbered by priority: 0 is kept first.
        first: int64 [E], the earlier end of each edge.
        second: int64 [E], the later end, ``first < second``; an edge may come twice.
        cosine: float32 [E].
        pools: edges that are not listed, if any.

    Returns:
        int64 [n_nodes], the kept neighbour of highest cosine, ties to the earlier, -1 for a kept
        node; float32 [n_nodes], that cosine, NaN for a kept node.
    """
    key = first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64)
    key.sort()
    targets = (key & np.uint64(2**32 - 1)).astype(np.int64)
    sources = (key >> np.uint64(32)).astype(np.int64)
    del key
    starts = np.flatnonzero(np.diff(sources, prepend=-1))
    sources, ends = sources[starts], np.append(starts[1:], len(targets))
    removed = bytearray(n_nodes)
    flags = np.frombuffer(removed, dtype=np.uint8)

    def sweep(begin: int, stop: int) -> None:
        for left in range(begin, stop, _LOOP_CHUNK):
            part = slice(left, min(left + _LOOP_CHUNK, stop))
            spans = sources[part].tolist(), starts[part].tolist(), ends[part].tolist()
            for source, start, end in zip(*spans, strict=True):
                if not removed[source]:
                    flags[targets[start:end]] = 1

    done = 0
    if pools:
        for member, node in pools.by_priority():
            stop = done + int(np.searchsorted(sources[done:], node))
            sweep(done, stop)
            done = stop
            if not removed[node]:
                flags[pools.later_neighbours(member, flags)] = 1
    sweep(done, len(sources))
    from_kept = flags[first] == 0
    edges = first[from_kept], second[from_kept], cosine[from_kept]
    if pools:
        is_removed = flags[pools.node] == 1
        edges = joined(edges, pools.strongest_links(~is_removed, is_removed))
    return strongest(n_nodes, *edges)


def identity_classes(
    n_images: int, copies: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> NDArray[np.int64]:
    """The lowest row that each image is identical with, over any chain of ``copies``.

    Args:
        n_images: N.
        copies: arrays int64 (a, b) of rows: a[i] is identical with b[i].

    Returns:
        int64 [N], its own row for an image without a copy before it.
    """
    label = np.arange(n_images)
    a = np.concatenate([np.zeros(0, np.int64), *(pair[0] for pair in copies)])
    b = np.concatenate([np.zeros(0, np.int64), *(pair[1] for pair in copies)])
    while len(a):
        low, high = np.minimum(label[a], label[b]), np.maximum(label[a], label[b])
        apart = low != high
        a, b = a[apart], b[apart]
        np.minimum.at(label, high[apart], low[apart])  # hook each root to a lower one
        while not np.array_equal(label, shorter := label[label]):
            label = shorter
    return label


def _node_of_image(
    classes: NDArray[np.int64], alive: NDArray[np.bool_], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """int64 [N]: the place in the order of the class's best live member; N if none lives."""
    n_images = len(alive)
    if len(order) != n_images:
        raise ValueError(f"an order of {len(order)} rows for {n_images} images")
    best = np.full(n_images, n_images)
    np.minimum.at(best, classes[alive], rank_of(order)[alive])
    node: NDArray[np.int64] = best[classes]
    return node


def _edges(
    node: NDArray[np.int64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> Edges:
    """Edges (earlier, later, cosine) between different live nodes."""
    first, second = np.minimum(node[a], node[b]), np.maximum(node[a], node[b])
    kept = (first != second) & (second < len(node))
    return first[kept], second[kept], cosine[kept]


def _pools(
    dense: DenseMembers,
    node: NDArray[np.int64],
    vectors: Vectors | None,
    min_cosine: float,
    device: str,
) -> DensePools | None:
    """The pairs that are not listed; None if all are."""
    if not len(dense.row):
        return None
    if vectors is None:
        raise ValueError(
            f"{len(dense.row)} dense members, whose pairs are not listed, but no vectors to "
            "compute them from: pass vectors=, or search with dense_degree=None"
        )
    # here, since it imports torch, which few resolutions need
    from curator_assets.kernels.dense import DensePools  # noqa: PLC0415

    return DensePools(dense, node, vectors, min_cosine=min_cosine, device=device)


def _verdicts(
    node: NDArray[np.int64],
    by_node: NDArray[np.int64],
    by_cosine: NDArray[np.float32],
    alive: NDArray[np.bool_],
    order: NDArray[np.int64],
    *,
    copies_follow: bool,
) -> Resolution:
    """Verdicts on images from those on nodes.

    A copy is removed for the best of its class; with ``copies_follow``, if that one is itself
    removed, for the image that stands for it.
    """
    rows = np.flatnonzero(alive)
    own_node = node[rows]
    best = order[own_node]
    remover = by_node[own_node]
    by_edge = (best == rows) | (copies_follow & (remover >= 0))
    kept_by = np.full(len(alive), -1, np.int64)
    cosine = np.full(len(alive), np.nan, np.float32)
    kept_by[rows] = np.where(by_edge, np.where(remover >= 0, order[remover], -1), best)
    cosine[rows] = np.where(by_edge, by_cosine[own_node], np.float32(1.0))
    return Resolution(kept_by, cosine)
