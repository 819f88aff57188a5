"""One pass for all eps counts what a resolution at each of them removes."""

import numpy as np
import pytest

from curator_assets.kernels.edges import edge_records
from curator_assets.kernels.eps_sweep import count_removed_nodes

THRESHOLDS = [1.0, 0.99, 0.98, 0.97, 0.95]


def random_edges(seed: int, n_nodes: int, n_edges: int):
    """Edges with cosines on the thresholds, between them and below, some of them twice."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(n_nodes, size=(2, n_edges))
    first, second = np.minimum(a, b)[a != b], np.maximum(a, b)[a != b]
    cosine = rng.choice([*THRESHOLDS, 0.985, 0.96, 0.94], size=len(first)).astype(np.float32)
    times = rng.integers(1, 3, len(first))
    order = np.argsort(first, kind="stable")
    return edge_records(first, second, cosine)[np.repeat(order, times[order])]


def n_removed(edges, threshold: float, *, greedy: bool) -> int:
    """By the rule itself."""
    removed = set[int]()
    for first, second, cosine in edges.tolist():
        if np.float32(cosine) >= np.float32(threshold) and not (greedy and first in removed):
            removed.add(second)
    return len(removed)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("greedy", [True, False])
def test_it_counts_what_a_resolution_at_each_threshold_removes(seed, greedy):
    n_nodes = 60
    edges = random_edges(seed, n_nodes, n_edges=10 + 30 * seed)
    expected = [n_removed(edges, threshold, greedy=greedy) for threshold in THRESHOLDS]
    for size in (1, 7, 10_000):
        blocks = (edges[start : start + size] for start in range(0, len(edges), size))
        counts = count_removed_nodes(n_nodes, blocks, THRESHOLDS, greedy=greedy)
        assert counts.tolist() == expected
    assert len(set(expected)) > 1 or not seed


def test_a_chain_is_removed_otherwise_at_each_threshold():
    cosines = np.array([0.96, 0.99, 0.96], np.float32)
    edges = edge_records(np.arange(3), np.arange(1, 4), cosines)
    counts = count_removed_nodes(4, [edges], [0.99, 0.96, 0.96], greedy=True)
    assert counts.tolist() == [1, 2, 2]  # 2 by 1; then 1 by 0, and 3 by 2, which is kept
    assert count_removed_nodes(4, [edges], [0.99, 0.96], greedy=False).tolist() == [1, 3]
    assert count_removed_nodes(4, [], [0.9], greedy=True).tolist() == [0]


def test_thresholds_that_do_not_descend_or_are_too_many_are_refused():
    with pytest.raises(ValueError, match="at most 16 descending"):
        count_removed_nodes(4, [], [0.9, 0.95], greedy=True)
    with pytest.raises(ValueError, match="at most 16 descending"):
        count_removed_nodes(4, [], [0.9] * 17, greedy=True)
