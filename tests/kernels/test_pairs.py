import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.cell_members import Cell
from curator_assets.kernels.cell_search import CellSearch
from curator_assets.kernels.cells import CellAssignment, visit_cells
from curator_assets.kernels.found_pairs import Pairs
from curator_assets.kernels.kmeans import train_centroids
from curator_assets.kernels.pairs import find_pairs
from curator_assets.kernels.products import float32_product_error
from curator_assets.kernels.proposals import VectorCache
from curator_assets.kernels.tiles import TiledProducts

EXACT = {"max_visits": None, "bound_fraction": 1.0}
FLOAT32 = {"product_dtype": "float32", "device": "cpu"}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def search(rows, centroids, min_cosine, *, cells=None, device="cpu", **changes):
    assignment = visit_cells(rows, centroids, min_cosine=min_cosine, device=device, **EXACT)
    cells = np.arange(len(centroids)) if cells is None else np.asarray(cells)
    settled = {**FLOAT32, "device": device, **changes}
    group = CellGroup.of(rows, assignment, cells)
    return find_pairs(group, min_cosine=min_cosine, **settled).pairs


def brute_force(rows, min_cosine):
    """{(a, b): cosine} over all pairs, from float64 products."""
    exact = rows.astype(np.float64)
    cosine = np.minimum(np.float32(exact @ exact.T), np.float32(1.0))
    a, b = np.nonzero(np.triu(cosine >= np.float32(min_cosine), 1))
    return {(int(i), int(j)): cosine[i, j] for i, j in zip(a, b, strict=True)}


def as_dict(pairs):
    keys = list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))
    assert keys == sorted(set(keys))
    return dict(zip(keys, pairs.cosine, strict=True))


def clumped(seed, n_rows, width, spread):
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(max(1, n_rows // 6), width)))
    picks = centres[rng.integers(len(centres), size=n_rows)]
    return unit(picks + rng.normal(size=picks.shape) * spread)


def planted(seed, n_rows, width):
    """Lone rows, near-duplicates of some, a dense clump and copies, shuffled."""
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(n_rows, width)))
    near, clump, copies = np.split(rows[n_rows // 2 :], [n_rows // 4, n_rows // 4 + 600])
    sources = rows[rng.integers(n_rows // 4, size=len(near))]
    spread = rng.choice([0.01, 0.03, 0.05], (len(near), 1))
    near[:] = unit(sources + spread * rng.normal(size=near.shape))
    clump[:] = unit(clump[:1] + 0.02 * rng.normal(size=clump.shape))
    copies[:] = rows[rng.integers(n_rows // 4, size=len(copies))]
    return rows[rng.permutation(n_rows)]


def test_three_images_across_a_cell_boundary(device):
    rows = unit([[1, 0.95, 0], [0.95, 1, 0], [0, 0, 1]])
    found = search(rows, np.eye(3, dtype=np.float32), 0.99, device=device)
    assert as_dict(found) == {(0, 1): np.float32(rows[0].astype(float) @ rows[1].astype(float))}
    assert not found.identical.any()
    assert found.cosine.dtype == np.float32


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(0, 120),
    width=st.integers(2, 24),
    n_cells=st.integers(1, 12),
    eps=st.floats(0.001, 0.4),
    tile=st.sampled_from([(1, 1), (3, 5), (7, 64), (256, 8192)]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
)
def test_equals_brute_force_for_any_cells_tiles_and_precision(
    device, seed, n_rows, width, n_cells, eps, tile, dtype
):
    if device != "cpu":
        tile = max(tile, (7, 64))  # thousands of launches a case otherwise
    rows = clumped(seed, n_rows, width, 0.1)
    centroids = unit(np.random.default_rng(seed).normal(size=(n_cells, width)))
    found = search(
        rows, centroids, 1 - eps, device=device, product_dtype=dtype,
        tile_rows=tile[0], tile_columns=tile[1],
    )  # fmt: skip
    assert as_dict(found) == brute_force(rows, 1 - eps)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_pairs_equal_on_every_device(device, dtype):
    rows, centroids = planted(0, 4000, 64), planted(1, 4000, 64)[:40]
    arguments = {"dense_degree": None, "tile_rows": 100, "tile_columns": 500}
    on_cpu = search(rows, centroids, 0.95, dense_degree=None)
    there = search(rows, centroids, 0.95, device=device, product_dtype=dtype, **arguments)
    assert len(on_cpu.a) > 100_000
    assert on_cpu.identical.sum() > 300
    for name in ("a", "b", "cosine", "identical"):
        np.testing.assert_array_equal(getattr(there, name), getattr(on_cpu, name))


def test_pairs_and_pools_cover_the_same_on_every_device(device):
    rows, centroids = planted(0, 4000, 64), planted(1, 4000, 64)[:40]
    everything = search(rows, centroids, 0.95, dense_degree=None)
    expected = set(zip(everything.a.tolist(), everything.b.tolist(), strict=True))
    found = search(rows, centroids, 0.95, device=device)
    listed = as_dict(found)
    assert listed.keys() <= expected
    assert len(listed) < len(expected) // 4
    pools, at_home = {}, {}
    for row, cell, resident in zip(
        found.dense.row.tolist(),
        found.dense.cell.tolist(),
        found.dense.resident.tolist(),
        strict=True,
    ):
        pools.setdefault(row, set()).add(cell)
        at_home.setdefault(row, set()).update({cell} if resident else ())
    for a, b in expected - listed.keys():
        assert pools[a] & at_home[b] or at_home[a] & pools[b]


def test_disjoint_cell_groups_give_disjoint_pairs():
    rows = clumped(1, 400, 8, 0.15)
    rows[50:60] = rows[0]
    centroids = unit(np.random.default_rng(2).normal(size=(10, 8)))
    whole = search(rows, centroids, 0.9)
    parts = [
        search(rows, centroids, 0.9, cells=group) for group in ([0, 3, 9], [1], [2, 4, 5, 6, 7, 8])
    ]
    assert sum(len(part.a) for part in parts) == len(whole.a)
    together = Pairs.concatenate(parts)
    for name in ("a", "b", "cosine", "identical"):
        np.testing.assert_array_equal(getattr(together, name), getattr(whole, name))


def test_visits_of_cells_without_an_image_make_no_other_pair_a_lower_cells():
    """Row 0 visits cell 4, where nobody lives: that is not row 1's visit of cell 0."""
    rows = unit([[1, 0.01], [1, 0], [0.01, 1], [0, 1]])
    assignment = CellAssignment(
        home=np.array([2, 0, 2, 1], np.int32),
        cosine=np.ones(4, np.float32),
        visit_offsets=np.array([0, 1, 2, 2, 3]),
        visits=np.array([4, 2, 2], np.int32),
    )
    found = find_pairs(CellGroup.of(rows, assignment, range(5)), min_cosine=0.99, **FLOAT32)
    assert as_dict(found.pairs).keys() == {(0, 1), (2, 3)}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n_cells=st.integers(2, 60), n_groups=st.integers(1, 60))
def test_no_pair_is_lost_among_many_groups_and_empty_cells(seed, n_cells, n_groups):
    rows = clumped(seed, 90, 3, 0.05)
    centroids = unit(np.random.default_rng(seed).normal(size=(n_cells, 3)))
    parts = [
        search(rows, centroids, 0.98, cells=cells)
        for cells in np.array_split(np.arange(n_cells), n_groups)
        if len(cells)
    ]
    assert as_dict(Pairs.concatenate(parts)) == brute_force(rows, 0.98)


def test_permuting_rows_permutes_pairs():
    rows = clumped(3, 300, 8, 0.15)
    centroids = unit(np.random.default_rng(2).normal(size=(9, 8)))
    shuffled = np.random.default_rng(4).permutation(len(rows))
    found = as_dict(search(rows[shuffled], centroids, 0.9))
    renamed = {
        tuple(sorted((int(shuffled[a]), int(shuffled[b])))): c for (a, b), c in found.items()
    }
    assert renamed == as_dict(search(rows, centroids, 0.9))


def test_copies_are_a_star_not_a_clique(device):
    rng = np.random.default_rng(0)
    blank = unit(rng.normal(size=(1, 16)))
    near = unit(blank + rng.normal(size=(3, 16)).astype(np.float32) * 0.01)
    others = unit(rng.normal(size=(500, 16)))
    rows = np.concatenate([others, np.repeat(blank, 3000, axis=0), near])
    rows = rows[rng.permutation(len(rows))]
    centroids = train_centroids(others, n_clusters=20, n_iterations=5, seed=0)
    found = search(rows, centroids, 0.9, device=device)
    copies = np.flatnonzero((rows == blank).all(axis=1))
    assert found.a[found.identical].tolist() == [copies[0]] * 2999
    assert found.b[found.identical].tolist() == copies[1:].tolist()
    assert (found.cosine[found.identical] == 1.0).all()
    distinct = np.setdiff1d(np.arange(len(rows)), copies[1:])
    expected = {
        (distinct[a], distinct[b]): c for (a, b), c in brute_force(rows[distinct], 0.9).items()
    }
    searched = as_dict(found)
    assert {pair: searched[pair] for pair in searched if pair[1] in distinct} == expected
    assert len(expected) < 100


def test_copies_collapse_as_visitors_too():
    x, y = unit([[1, 0.99]]), unit([[0.99, 1]])
    rows = np.concatenate([np.repeat(x, 50, axis=0), np.repeat(y, 50, axis=0)])
    found = search(rows, np.eye(2, dtype=np.float32), 0.99)
    assert len(found.a) == 49 + 49 + 1
    only_second = search(rows, np.eye(2, dtype=np.float32), 0.99, cells=[1])
    assert as_dict(only_second).keys() == {(50, b) for b in range(51, 100)}


def test_signed_zeros_are_identical():
    rows = np.array([[1.0, 0.0], [1.0, -0.0]], np.float32)
    assert search(rows, rows[:1], 0.9).identical.tolist() == [True]


def test_equal_cosines_of_different_vectors_are_not_copies():
    rows = unit([[1, 0.1, 0], [1, 0, 0.1], [1, 0, 0.1]])
    found = search(rows, np.eye(3, dtype=np.float32)[:1], 0.9)
    assert dict(zip(as_dict(found), found.identical, strict=True)) == {(0, 1): False, (1, 2): True}


@pytest.mark.parametrize("n_rows", [0, 1, 5])
def test_few_or_only_identical_rows(device, n_rows):
    rows = np.repeat(np.eye(1, 4, dtype=np.float32), n_rows, axis=0)
    found = search(rows, np.eye(4, dtype=np.float32), 0.97, device=device)
    assert found.b.tolist() == list(range(1, n_rows))
    assert found.identical.all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_residents=st.integers(1, 60),
    n_visitors=st.integers(0, 60),
    limit=st.integers(1, 6),
    tile=st.sampled_from([(1, 1), (3, 5), (7, 64), (256, 8192)]),
)
def test_dense_are_those_above_the_limit_and_only_their_pairs_are_left_out(
    seed, n_residents, n_visitors, limit, tile
):
    rows = clumped(seed, n_residents + n_visitors, 6, 0.2)
    members = np.random.default_rng(seed).permutation(len(rows))
    held = VectorCache(rows.__getitem__, len(rows), "cpu")
    products = TiledProducts(held, 0.9, float32_product_error(6), "float32", *tile)
    cell_search = CellSearch(products, 0.9, limit)
    residents, visitors = members[:n_residents], members[n_residents:]
    cell = Cell(0, residents, visitors, len(rows), np.ones(len(rows), np.bool_))
    pairs, pooled = cell_search.new_pairs(cell, 0), members[:0]
    if pairs is None:
        pairs, pooled = cell_search.all_pairs(residents, visitors)
    place = np.argsort(members)
    first, second, dense = place[pairs[0]], place[pairs[1]], place[pooled]
    near = np.zeros((len(rows), len(rows)), np.bool_)
    for a, b in brute_force(rows[members], 0.9):
        near[a, b] = near[b, a] = a < n_residents
    expected = near.sum(axis=1) > limit
    if near.sum() // 2 <= limit * len(rows):
        expected[:] = False
    assert dense.tolist() == np.flatnonzero(expected).tolist()
    listed = np.triu(near) & ~(expected[:, None] & expected)
    found = sorted(zip(np.minimum(first, second), np.maximum(first, second), strict=True))
    assert found == list(zip(*np.nonzero(listed), strict=True))


def test_real_clip_vectors_equal_brute_force(shared_data, device):
    raw = np.load(shared_data / "clip_vectors" / "manuscripts_vit_b_32_629x512.npy")
    rows = unit(raw)
    centroids = train_centroids(rows, n_clusters=24, n_iterations=10, seed=0)
    found = search(rows, centroids, 0.98, device=device)
    expected = brute_force(rows, 0.98)
    assert len(expected) == 1636
    assert not found.identical.any()
    assert as_dict(found) == expected


def test_bad_arguments_are_named():
    rows = np.eye(3, dtype=np.float32)
    assignment = visit_cells(rows, rows, min_cosine=0.9, device="cpu", **EXACT)
    cells = np.arange(3)
    with pytest.raises(ValueError, match="2 embeddings but 3 cell assignments"):
        CellGroup.of(rows[:2], assignment, cells)
    group = CellGroup.of(rows, assignment, cells)
    with pytest.raises(ValueError, match="product_dtype"):
        find_pairs(group, min_cosine=0.9, product_dtype="int8", device="cpu")
