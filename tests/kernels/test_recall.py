import numpy as np
import pytest

from curator_assets.kernels.cells import visit_cells
from curator_assets.kernels.pairs import Pairs, find_pairs
from curator_assets.kernels.recall import Recall, sampled_recall


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    base = unit(rng.normal(size=(60, 16)))
    near = unit(np.repeat(base, 5, axis=0) + 0.02 * rng.normal(size=(300, 16)))
    return np.concatenate([near, near[:20]]).astype(np.float32)


def search(images, **changes):
    keywords = {"min_cosine": 0.95, "max_visits": None, "bound_fraction": 1.0, "device": "cpu"}
    centroids = unit(np.random.default_rng(1).normal(size=(8, 16)))
    assignment = visit_cells(images, centroids, **(keywords | changes))
    return find_pairs(
        images,
        assignment,
        cells=np.arange(8),
        min_cosine=0.95,
        product_dtype="float32",
        device="cpu",
    )


def measure(images, pairs, n_queries=1000):
    return sampled_recall(images, pairs, min_cosine=0.95, n_queries=n_queries, seed=0, device="cpu")


def test_an_exact_search_has_recall_one(images):
    found = measure(images, search(images))
    assert found.n_true == found.n_found > 500
    assert found.n_queries == 300  # copies of a vector count once


def test_missed_pairs_are_counted(images):
    pairs = search(images)
    listed = ~pairs.identical
    half = np.flatnonzero(listed)[::2]
    keep = np.ones(len(pairs.a), bool)
    keep[half] = False
    fewer = Pairs(pairs.a[keep], pairs.b[keep], pairs.cosine[keep], pairs.identical[keep])
    found = measure(images, fewer)
    assert found.n_true - found.n_found == 2 * len(half)  # each pair is asked for from both sides
    low, high = found.interval()
    assert low < found.recall < high


def test_within_cell_search_alone_misses_some(images):
    assert measure(images, search(images, max_visits=0)).recall < 1


def test_a_sample_is_seeded_and_bounded(images):
    pairs = search(images)
    assert measure(images, pairs, 50) == measure(images, pairs, 50)
    assert measure(images, pairs, 50).n_queries == 50


def test_pools_count_as_found():
    rng = np.random.default_rng(0)
    clump = unit(np.ones(8) + 0.01 * rng.normal(size=(200, 8)))
    pairs = search_clump(clump)
    assert len(pairs.dense.row)
    assert measure(clump, pairs).recall == 1


def search_clump(clump):
    centroids = unit(np.random.default_rng(1).normal(size=(4, 8)))
    assignment = visit_cells(
        clump, centroids, min_cosine=0.95, max_visits=None, bound_fraction=1.0, device="cpu"
    )
    return find_pairs(
        clump,
        assignment,
        cells=np.arange(4),
        min_cosine=0.95,
        product_dtype="float32",
        device="cpu",
        dense_degree=8,
    )


def test_nothing_to_find_is_full_recall():
    assert measure(np.eye(4, dtype=np.float32), search_clump(unit(np.eye(8))[:0])).recall == 1.0
    assert Recall(10, 0, 0, 0).interval()[1] == 1.0
