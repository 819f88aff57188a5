"""Who is removed of images in memory, in order of arrival, everyone taking part."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.dense import DensePools
from curator_assets.kernels.edges import edges_of_pairs
from curator_assets.kernels.found_pairs import Pairs
from curator_assets.kernels.nodes import Nodes, row_type
from curator_assets.kernels.resolution import (
    Graph,
    greedy_links,
    removed_greedily,
    semdedup_links,
    verdicts,
)
from curator_assets.kernels.sorted_runs import SortedRuns

Array = NDArray[Any]


def removed_rows(
    pairs: Pairs, vectors: Array, eps: float, home: Array | None = None
) -> NDArray[np.bool_]:
    """Bool [N]: greedily, or with ``home`` by the peers' rule.

    Args:
        pairs: of the images.
        vectors: float32 [N, D].
        eps: at most that of the search.
        home: int32 [N], their cells.
    """
    chosen = np.ones(len(pairs.a), np.bool_) if home is None else home[pairs.a] == home[pairs.b]
    dense = pairs.dense if home is None else pairs.dense.residents()
    copies = pairs.a[chosen & pairs.identical], pairs.b[chosen & pairs.identical]
    nodes = Nodes.of(np.arange(len(vectors), dtype=row_type(len(vectors))), None, [copies])
    edges, pools = SortedRuns("first", tempfile.TemporaryFile), None
    edges.append(edges_of_pairs(nodes, pairs.a[chosen], pairs.b[chosen], pairs.cosine[chosen]))
    if len(dense.row):
        pools = DensePools(dense, nodes.node, vectors.__getitem__, min_cosine=1 - eps, device="cpu")
    graph = Graph(nodes, edges, 1 - eps, pools, tempfile.TemporaryFile)
    links = greedy_links(graph, removed_greedily(graph)) if home is None else semdedup_links(graph)
    removed = np.zeros(len(vectors), np.bool_)
    for found in verdicts(graph, links, copies_follow=home is None):
        removed[found["row"]] = True
    return removed
