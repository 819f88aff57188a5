"""Verdicts on pairs that are all in memory: by the package's pass over runs, and by a plain rule.

Legend: N images.
"""

import tempfile
from dataclasses import dataclass

import numpy as np

from curator_assets.kernels.dense import DensePools
from curator_assets.kernels.edges import edges_of_pairs
from curator_assets.kernels.keep_order import KeepOrder, easy_keys, random_keys
from curator_assets.kernels.nodes import Nodes, row_type
from curator_assets.kernels.resolution import (
    Graph,
    count_linked,
    greedy_links,
    removed_greedily,
    semdedup_links,
    verdicts,
)
from curator_assets.kernels.sorted_runs import SortedRuns


@dataclass(frozen=True)
class Resolution:
    """Verdict on each of N images.

    Attributes:
        kept_by: int64 [N], row of the image that stands for a removed one, else -1.
        cosine: float32 [N], cosine to that image, else NaN.
    """

    kept_by: np.ndarray
    cosine: np.ndarray

    @property
    def removed(self) -> np.ndarray:
        return self.kept_by >= 0


def resolve(pairs, *, content, **policy) -> Resolution:
    """The greedy resolution; `content` is [N], equal where bytes are, or None."""
    copies = [(pairs.a[pairs.identical], pairs.b[pairs.identical])]
    if content is not None:
        copies.append(equal_content(content))
    graph = graph_of(pairs, copies, np.ones(len(pairs.a), bool), pairs.dense, **policy)
    removed = removed_greedily(graph)
    links = greedy_links(graph, removed)
    found = resolution_of(graph, links, copies_follow=True)
    n_removed = np.count_nonzero(removed) + len(graph.nodes.copy_row)
    assert n_removed == found.removed.sum()
    return found


def resolve_semdedup(pairs, *, home, **policy) -> Resolution:
    """The peers' rule; `home` is int32 [N], the cell of each image."""
    same = home[pairs.a] == home[pairs.b]
    identical = same & pairs.identical
    copies = [(pairs.a[identical], pairs.b[identical])]
    graph = graph_of(pairs, copies, same, pairs.dense.residents(), **policy)
    found = resolution_of(graph, semdedup_links(graph), copies_follow=False)
    assert count_linked(graph) + len(graph.nodes.copy_row) == found.removed.sum()
    return found


def graph_of(pairs, copies, chosen, dense, *, alive, order, min_cosine, vectors=None, device="cpu"):
    scratch = tempfile.TemporaryFile
    kind = row_type(len(alive))
    order = order[alive[order]].astype(kind)
    node = np.full(len(alive), len(alive), kind)
    node[order] = np.arange(len(order))
    nodes = Nodes.of(node, order, copies)
    edges = SortedRuns("first", scratch)
    half = len(pairs.a) // 2
    for part in (slice(0, half), slice(half, None)):
        a, b, cosine = (column[part][chosen[part]] for column in (pairs.a, pairs.b, pairs.cosine))
        edges.append(edges_of_pairs(nodes, a, b, cosine))
    pools = None
    if len(dense.row):
        pools = DensePools(dense, nodes.node, vectors, min_cosine=min_cosine, device=device)
    return Graph(nodes, edges, min_cosine, pools, scratch)


def resolution_of(graph, links, *, copies_follow) -> Resolution:
    n_rows = len(graph.nodes.node)
    kept_by, cosine = np.full(n_rows, -1), np.full(n_rows, np.nan, np.float32)
    for records in verdicts(graph, links, copies_follow=copies_follow):
        assert (kept_by[records["row"]] < 0).all()
        kept_by[records["row"]], cosine[records["row"]] = records["kept"], records["cosine"]
    return Resolution(kept_by, cosine)


def equal_content(content):
    _, first, inverse = np.unique(content, return_index=True, return_inverse=True)
    return first[inverse], np.arange(len(content))


def resolve_plainly(pairs, *, copies, chosen, alive, order, min_cosine, is_greedy) -> Resolution:
    """The rule as it is said, for pairs that are all listed, image by image.

    `copies` is [(a, b)], bool [P] `chosen` says which pairs count.
    """
    n_rows = len(alive)
    label = list(range(n_rows))
    for _ in range(n_rows):
        for a, b in copies:
            label[a] = label[b] = min(label[a], label[b])
    best = {}
    for row in order.tolist():
        if alive[row]:
            best.setdefault(label[row], row)
    place = {row: i for i, row in enumerate(order.tolist())}
    near = {row: [] for row in best.values()}  # earlier nodes, with cosines
    for a, b, cosine in zip(pairs.a[chosen], pairs.b[chosen], pairs.cosine[chosen], strict=True):
        ends = [best.get(label[row]) for row in (a, b)]
        if cosine >= np.float32(min_cosine) and None not in ends and ends[0] != ends[1]:
            first, second = sorted(ends, key=place.get)
            near[second].append((cosine, -place[first], first))
    kept_by, value = np.full(n_rows, -1), np.full(n_rows, np.nan, np.float32)
    for row in sorted(near, key=place.get):
        standing = [link for link in near[row] if not is_greedy or kept_by[link[2]] < 0]
        if standing:
            value[row], _, kept_by[row] = max(standing)
    for row in np.flatnonzero(alive).tolist():
        mine = best[label[row]]
        if row != mine:
            follows = is_greedy and kept_by[mine] >= 0
            kept_by[row] = kept_by[mine] if follows else mine
            value[row] = value[mine] if follows else 1
    return Resolution(kept_by, value)


def easy_order(distance, ids, *, is_descending=False):
    """int64 [N], the rows by the policy `easy`."""
    order = KeepOrder(np.dtype(np.int64), tempfile.TemporaryFile, is_descending=is_descending)
    order.append(np.arange(len(ids)), easy_keys(np.asarray(distance), ids))
    return order.rows()


def hard_order(distance, ids):
    """int64 [N], the rows by the policy `hard`."""
    return easy_order(distance, ids, is_descending=True)


def random_order(ids, *, seed):
    """int64 [N], the rows by the policy `random`."""
    return np.argsort(random_keys(ids, np.arange(len(ids)), seed=seed), kind="stable")
