import numpy as np
import pytest
import torch

from curator_assets.kernels import recall
from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.cells import visit_cells
from curator_assets.kernels.found_pairs import Pairs
from curator_assets.kernels.pairs import find_pairs
from curator_assets.kernels.recall import Recall, draw_queries, sampled_recall


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    base = unit(rng.normal(size=(60, 16)))
    near = unit(np.repeat(base, 5, axis=0) + 0.02 * rng.normal(size=(300, 16)))
    return np.concatenate([near, near[:20]]).astype(np.float32)


def search(images, *, device="cpu", dense_degree=64, **changes):
    keywords = {"min_cosine": 0.95, "max_visits": None, "bound_fraction": 1.0, "device": device}
    centroids = unit(np.random.default_rng(1).normal(size=(8, images.shape[1])))
    assignment = visit_cells(images, centroids, **(keywords | changes))
    return find_pairs(
        CellGroup.of(images, assignment, range(8)),
        min_cosine=0.95,
        product_dtype="float32",
        device=device,
        dense_degree=dense_degree,
    ).pairs


def measure(images, pairs, n_queries=5000, device="cpu", n_blocks=3):
    queries = draw_queries(len(images), np.arange(0), n_queries=n_queries, seed=0)
    blocks = np.array_split(np.arange(len(images)), n_blocks)
    return sampled_recall(
        queries,
        images[queries],
        ((rows, images[rows]) for rows in blocks),
        pairs,
        n_rows=len(images),
        min_cosine=0.95,
        device=device,
    )


def test_an_exact_search_has_recall_one(images, device):
    found = measure(images, search(images, device=device), device=device)
    assert found.n_true == found.n_found > 500
    assert found.n_queries == 300  # copies of a vector count once


def test_missed_pairs_are_counted(images, device):
    pairs = search(images)
    listed = ~pairs.identical
    half = np.flatnonzero(listed)[::2]
    keep = np.ones(len(pairs.a), bool)
    keep[half] = False
    fewer = Pairs(pairs.a[keep], pairs.b[keep], pairs.cosine[keep], pairs.identical[keep])
    found = measure(images, fewer, device=device)
    assert found.n_true - found.n_found == 2 * len(half)  # each pair is asked for from both sides
    low, high = found.interval()
    assert low < found.recall < high


def test_within_cell_search_alone_misses_some(images):
    assert measure(images, search(images, max_visits=0)).recall < 1


def test_a_sample_is_seeded_bounded_and_of_old_and_new():
    new = np.array([3, 50, 51, 52, 53])
    drawn = draw_queries(100, new, n_queries=8, seed=0)
    assert (
        drawn.tolist()
        == sorted({*drawn.tolist()})
        == draw_queries(100, new, n_queries=8, seed=0).tolist()
    )
    assert np.isin(drawn, new).sum() == 4
    assert np.isin(draw_queries(100, new, n_queries=20, seed=0), new).sum() == 5
    assert np.isin(draw_queries(6, new[:1], n_queries=5, seed=0), new).sum() == 1
    assert draw_queries(6, new[:1], n_queries=40, seed=0).tolist() == [0, 1, 2, 3, 4, 5]
    assert len(draw_queries(6, new[:1], n_queries=0, seed=0)) == 0


def test_pools_count_as_found(device):
    rng = np.random.default_rng(0)
    clump = unit(np.ones(8) + 0.01 * rng.normal(size=(200, 8)))
    pairs = search(clump, device=device, dense_degree=8)
    assert len(pairs.dense.row)
    assert measure(clump, pairs, device=device).recall == 1


def test_counts_are_the_same_on_every_device_in_any_blocks_and_by_brute_force(device, monkeypatch):
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(4000, 64)))
    rows[:1500] = unit(np.repeat(rows[:50], 30, axis=0) + 0.028 * rng.normal(size=(1500, 64)))
    pairs = search(rows, max_visits=0)
    exact = rows.astype(np.float64) @ rows.T.astype(np.float64) - 0.95
    np.fill_diagonal(exact, -1)
    expected = measure(rows, pairs, 4000)
    assert expected.n_true == (exact > recall.TIE).sum() > 10_000
    assert expected.n_ties == (np.abs(exact) <= recall.TIE).sum() > 0
    assert expected.n_found < expected.n_true
    assert measure(rows, pairs, 4000, device, n_blocks=1) == expected
    monkeypatch.setattr(recall, "_TILE_COLUMNS", 777)
    monkeypatch.setattr(recall, "_QUERY_ROWS", 500)
    monkeypatch.setattr(recall, "_RECHECK_ROWS", 3)
    torch.set_float32_matmul_precision("medium")
    try:
        assert measure(rows, pairs, 4000, device) == expected
    finally:
        torch.set_float32_matmul_precision("highest")


def test_nothing_to_find_is_full_recall():
    assert measure(np.eye(4, dtype=np.float32), search(unit(np.eye(8))[:0])).recall == 1.0
    assert Recall(10, 0, 0, 0).interval()[1] == 1.0
