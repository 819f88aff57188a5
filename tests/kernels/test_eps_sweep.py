"""One pass for all eps counts what a resolution at each of them removes."""

import numpy as np
import pytest

from curator_assets.kernels.edges import strongest
from curator_assets.kernels.eps_sweep import count_removed_nodes
from curator_assets.kernels.resolution import resolve_greedy

THRESHOLDS = [1.0, 0.99, 0.98, 0.97, 0.95]


def random_edges(seed: int, n_nodes: int, n_edges: int):
    """Edges with cosines on the thresholds, between them and below, some of them twice."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(n_nodes, size=(2, n_edges))
    first, second = np.minimum(a, b)[a != b], np.maximum(a, b)[a != b]
    cosine = rng.choice([*THRESHOLDS, 0.985, 0.96, 0.94], size=len(first)).astype(np.float32)
    times = rng.integers(1, 3, len(first))
    order = np.argsort(first, kind="stable")
    return [np.repeat(column[order], times[order]) for column in (first, second, cosine)]


def blocks(edges, size: int):
    for start in range(0, len(edges[0]), size):
        yield tuple(column[start : start + size] for column in edges)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("greedy", [True, False])
def test_it_counts_what_a_resolution_at_each_threshold_removes(seed, greedy):
    n_nodes = 60
    edges = random_edges(seed, n_nodes, n_edges=10 + 30 * seed)
    expected = []
    for threshold in THRESHOLDS:
        near = edges[2] >= np.float32(threshold)
        resolution = resolve_greedy if greedy else strongest
        kept_by, _ = resolution(n_nodes, *(column[near] for column in edges))
        expected.append(int((kept_by >= 0).sum()))
    for size in (1, 7, 10_000):
        counts = count_removed_nodes(n_nodes, blocks(edges, size), THRESHOLDS, greedy=greedy)
        assert counts.tolist() == expected
    assert len(set(expected)) > 1 or not seed


def test_a_chain_is_removed_otherwise_at_each_threshold():
    edges = np.arange(3), np.arange(1, 4), np.array([0.96, 0.99, 0.96], np.float32)
    counts = count_removed_nodes(4, [edges], [0.99, 0.96, 0.96], greedy=True)
    assert counts.tolist() == [1, 2, 2]  # 2 by 1; then 1 by 0, and 3 by 2, which is kept
    assert count_removed_nodes(4, [edges], [0.99, 0.96], greedy=False).tolist() == [1, 3]
    assert count_removed_nodes(4, [], [0.9], greedy=True).tolist() == [0]


def test_thresholds_that_do_not_descend_or_are_too_many_are_refused():
    with pytest.raises(ValueError, match="at most 16 descending"):
        count_removed_nodes(4, [], [0.9, 0.95], greedy=True)
    with pytest.raises(ValueError, match="at most 16 descending"):
        count_removed_nodes(4, [], [0.9] * 17, greedy=True)
