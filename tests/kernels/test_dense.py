import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resolved import resolve, resolve_semdedup

from curator_assets.kernels import dense
from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.cells import visit_cells
from curator_assets.kernels.dense import DensePools
from curator_assets.kernels.duplicates import rank_of
from curator_assets.kernels.edges import joined, strongest
from curator_assets.kernels.found_pairs import DenseMembers, Pairs
from curator_assets.kernels.pairs import find_pairs

EXACT = {"max_visits": None, "bound_fraction": 1.0}
FAST = {"max_visits": 1, "bound_fraction": 0.6}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def search(rows, centroids, min_cosine, *, calls=1, visits=EXACT, device="cpu", **changes):
    """Pairs and homes; the cells are split over several calls."""
    assignment = visit_cells(rows, centroids, min_cosine=min_cosine, device=device, **visits)
    settled = {"min_cosine": min_cosine, "product_dtype": "float32", "device": device, **changes}
    parts = [
        find_pairs(
            CellGroup.of(rows, assignment, range(start, len(centroids), calls)), **settled
        ).pairs
        for start in range(calls)
    ]
    return Pairs.concatenate(parts), assignment.home


def clumps(rng, n_images, width=4):
    """Rows in clumps of any tightness, some of them identical, and a permuted order."""
    centres = unit(rng.normal(size=(max(1, n_images // 12), width)))
    rows = centres[rng.integers(len(centres), size=n_images)]
    return unit(rows + rng.normal(size=rows.shape) * rng.choice([0, 0.03, 0.2], (n_images, 1)))


def assert_same(left, right):
    np.testing.assert_array_equal(left.kept_by, right.kept_by)
    np.testing.assert_array_equal(left.cosine, right.cosine)


def naive_greedy(rows, order, min_cosine):
    """The O(N^2) rule for distinct rows: kept_by and cosine."""
    exact = rows.astype(np.float64)
    cosine = np.minimum(np.float32(exact @ exact.T), np.float32(1.0))
    kept_by, value, kept = np.full(len(rows), -1), np.full(len(rows), np.nan, np.float32), []
    for image in order:
        near = [other for other in kept if cosine[image, other] >= np.float32(min_cosine)]
        if near:
            kept_by[image] = near[int(np.argmax(cosine[image, near]))]
            value[image] = cosine[image, kept_by[image]]
        else:
            kept.append(image)
    return kept_by, value


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_images=st.integers(1, 80),
    n_cells=st.integers(1, 6),
    eps=st.sampled_from([0.02, 0.1, 0.3]),
    smaller=st.sampled_from([1.0, 0.5]),
    limit=st.integers(1, 4),
    calls=st.integers(1, 3),
    blocks=st.sampled_from([(1, 1, 1), (2, 3, 7), (16, 256, 8192)]),
    visits=st.sampled_from([EXACT, FAST]),
)
def test_verdicts_are_those_of_all_pairs(
    seed, n_images, n_cells, eps, smaller, limit, calls, blocks, visits
):
    rng = np.random.default_rng(seed)
    rows = clumps(rng, n_images)
    centroids = unit(rng.normal(size=(n_cells, 4)))
    content = np.where(rng.random(n_images) < 0.1, n_images, np.arange(n_images))
    policy = {
        "alive": rng.random(n_images) < 0.85,
        "order": rng.permutation(n_images),
        "min_cosine": 1 - eps * smaller,
    }
    everything, home = search(rows, centroids, 1 - eps, dense_degree=None, visits=visits)
    assert not len(everything.dense.row)
    pooled, _ = search(
        rows, centroids, 1 - eps, dense_degree=limit, calls=calls, visits=visits,
        tile_rows=1 + seed % 7, tile_columns=1 + seed % 11,
    )  # fmt: skip
    assert len(pooled.a) <= len(everything.a)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(("_FIRST_ROWS", "_TILE_ROWS", "_TILE_COLUMNS"), blocks, strict=True):
            patch.setattr(dense, name, value)
        greedy = resolve(pooled, content=content, vectors=rows.__getitem__, **policy)
        semdedup = resolve_semdedup(pooled, home=home, vectors=rows.__getitem__, **policy)
    assert_same(greedy, resolve(everything, content=content, **policy))
    assert_same(semdedup, resolve_semdedup(everything, home=home, **policy))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_images=st.integers(1, 80),
    n_cells=st.integers(1, 6),
    limit=st.integers(1, 3),
)
def test_reference_guarantee_and_invariance_with_pools_everywhere(
    device, seed, n_images, n_cells, limit
):
    rng = np.random.default_rng(seed)
    rows = np.unique(clumps(rng, n_images), axis=0)
    n_images, min_cosine = len(rows), 0.9
    order, everyone = rng.permutation(n_images), np.ones(n_images, np.bool_)
    centroids = unit(rng.normal(size=(n_cells, 4)))
    there = {"dense_degree": limit, "device": device}
    pairs, _ = search(rows, centroids, min_cosine, **there)
    policy = {"content": None, "alive": everyone, "min_cosine": min_cosine, "device": device}
    result = resolve(pairs, order=order, vectors=rows.__getitem__, **policy)
    kept_by, cosine = naive_greedy(rows, order, min_cosine)
    np.testing.assert_array_equal(result.kept_by, kept_by)
    np.testing.assert_array_equal(result.cosine, cosine)
    assert not result.removed[result.kept_by[result.removed]].any()

    one_cell, _ = search(rows, unit(rng.normal(size=(1, 4))), min_cosine, **there)
    assert_same(resolve(one_cell, order=order, vectors=rows.__getitem__, **policy), result)

    moved = rng.permutation(n_images)
    shuffled, _ = search(rows[moved], centroids, min_cosine, **there)
    again = resolve(
        shuffled, order=rank_of(moved)[order], vectors=rows[moved].__getitem__, **policy
    )
    renamed = np.where(again.kept_by >= 0, moved[again.kept_by], -1)
    np.testing.assert_array_equal(renamed, result.kept_by[moved])
    np.testing.assert_array_equal(again.cosine, result.cosine[moved])


def test_a_clump_gives_a_small_table_and_the_verdicts_of_all_pairs(device):
    rng = np.random.default_rng(0)
    centre, others = unit(rng.normal(size=(1, 32))), unit(rng.normal(size=(1000, 32)))
    clump = unit(centre + rng.normal(size=(3000, 32)) * 0.03)
    rows = np.concatenate([others, clump])[rng.permutation(4000)]
    everything, home = search(rows, others[:8], 0.95, dense_degree=None)
    pairs, _ = search(rows, others[:8], 0.95, device=device)
    assert len(everything.a) > 4_000_000
    assert len(pairs.a) < 4 * len(rows)
    assert 2900 < len(pairs.dense.row) < 3 * len(rows)
    policy = {"alive": np.ones(4000, np.bool_), "order": rng.permutation(4000), "min_cosine": 0.95}
    pooled = {"vectors": rows.__getitem__, "device": device, **policy}
    assert_same(resolve(pairs, content=None, **pooled), resolve(everything, content=None, **policy))
    assert_same(
        resolve_semdedup(pairs, home=home, **pooled),
        resolve_semdedup(everything, home=home, **policy),
    )


def test_vectors_are_asked_for_dense_rows_only_and_in_small_portions():
    rng = np.random.default_rng(1)
    rows = np.concatenate([unit(rng.normal(size=(50, 8))), unit(rng.normal(size=(200, 8)) + 20)])
    pairs, _ = search(rows, rows[:1], 0.95, dense_degree=8)
    asked = []

    def vectors(wanted):
        asked.append(wanted)
        return rows[wanted]

    policy = {"alive": np.ones(250, np.bool_), "order": np.arange(250), "min_cosine": 0.95}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_TILE_COLUMNS", 64)
        resolve(pairs, content=None, vectors=vectors, **policy)
    assert set(np.concatenate(asked)) <= set(pairs.dense.row)
    assert max(map(len, asked)) <= 64


def test_visitors_of_one_cell_are_no_pair_of_it(device):
    rows = unit([[1, 0], [1, 0.01], [1, 0.02]])
    members = DenseMembers(
        np.array([0, 1, 2]), np.zeros(3, np.int32), np.array([True, False, False])
    )
    everyone = np.ones(3, np.bool_)
    pools = DensePools(members, np.arange(3), rows.__getitem__, min_cosine=0.9, device=device)
    first, second, _ = pools.strongest_links(everyone, everyone)
    assert list(zip(first, second, strict=True)) == [(0, 1), (0, 2)]
    assert pools.later_neighbours(0, np.zeros(3, np.uint8)).tolist() == [1, 2]
    assert pools.later_neighbours(1, np.zeros(3, np.uint8)).tolist() == []
    assert members.residents().row.tolist() == [0]


def test_neighbours_within_rounding_of_the_threshold_are_confirmed(device):
    rng = np.random.default_rng(0)
    towards = 0.9 + 2e-7 * rng.normal(size=(300, 1))
    across = rng.normal(size=(300, 63))
    across *= np.sqrt(1 - towards**2) / np.linalg.norm(across, axis=1, keepdims=True)
    rows = np.concatenate([np.eye(1, 64), np.hstack([towards, across])])
    rows = np.float32(rows @ np.linalg.qr(rng.normal(size=(64, 64)))[0])
    cosine = np.float32(rows[1:].astype(np.float64) @ rows[0].astype(np.float64))
    near = 1 + np.flatnonzero(cosine >= np.float32(0.9))
    assert 30 < len(near) < 270
    members = DenseMembers(np.arange(301), np.zeros(301, np.int32), np.ones(301, np.bool_))
    pools = DensePools(members, np.arange(301), rows.__getitem__, min_cosine=0.9, device=device)
    assert sorted(pools.later_neighbours(0, np.zeros(301, np.uint8))) == near.tolist()
    source = np.arange(301) == 0
    _, linked, strength = pools.strongest_links(source, ~source)
    assert linked.tolist() == near.tolist()
    np.testing.assert_array_equal(strength, cosine[near - 1])


def test_members_that_take_no_part_are_left_out(device):
    rows = unit([[1, 0], [1, 0.01], [1, 0.02]])
    members = DenseMembers(np.arange(3), np.zeros(3, np.int32), np.ones(3, np.bool_))
    node = np.array([1, 3, 0])
    pools = DensePools(members, node, rows.__getitem__, min_cosine=0.9, device=device)
    assert list(pools.by_priority()) == [(0, 0), (1, 1)]
    assert pools.later_neighbours(0, np.zeros(3, np.uint8)).tolist() == [1]


def test_pools_concatenate_by_cell_and_row():
    left = DenseMembers(np.array([5, 7]), np.array([3, 3], np.int32), np.array([True, False]))
    right = DenseMembers(np.array([9, 6]), np.array([1, 1], np.int32), np.array([False, True]))
    both = DenseMembers.concatenate([left, right])
    assert both.row.tolist() == [6, 9, 5, 7]
    assert both.cell.tolist() == [1, 1, 3, 3]
    assert both.resident.tolist() == [True, False, True, False]
    assert len(DenseMembers.concatenate([]).row) == 0


def test_no_edges_join_to_none():
    first, second, cosine = joined()
    kept_by, value = strongest(2, first, second, cosine)
    assert kept_by.tolist() == [-1, -1]
    assert np.isnan(value).all()


def test_a_degree_that_is_no_degree_is_refused():
    rows = unit(np.random.default_rng(0).normal(size=(40, 3)) + 9)
    with pytest.raises(ValueError, match="dense_degree must be None or at least 1, got 0"):
        search(rows, rows[:1], 0.9, dense_degree=0)
