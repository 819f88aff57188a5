import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resolved import resolve, resolve_plainly, resolve_semdedup

from curator_assets.kernels import nodes, sorted_runs
from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.cells import visit_cells
from curator_assets.kernels.copies import CopyFinder, identity_classes
from curator_assets.kernels.duplicates import rank_of
from curator_assets.kernels.edges import edge_records, strongest_by_second
from curator_assets.kernels.found_pairs import Pairs
from curator_assets.kernels.kmeans import train_centroids
from curator_assets.kernels.nodes import Nodes
from curator_assets.kernels.pairs import find_pairs
from curator_assets.kernels.resolution import Graph, greedy_links, removed_greedily, verdicts
from curator_assets.kernels.sorted_runs import SortedRuns


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pair_table(*edges):
    """Pairs of (a, b, cosine); a cosine of None marks an identical copy."""
    a, b, cosine = (list(column) for column in zip(*edges, strict=True)) if edges else ([], [], [])
    return Pairs(
        np.array(a, np.int64),
        np.array(b, np.int64),
        np.array([1.0 if c is None else c for c in cosine], np.float32),
        np.array([c is None for c in cosine], np.bool_),
    )


def search(rows, centroids, min_cosine, device="cpu"):
    assignment = visit_cells(
        rows, centroids, min_cosine=min_cosine, max_visits=None, bound_fraction=1.0, device=device
    )
    pairs = find_pairs(
        CellGroup.of(rows, assignment, range(len(centroids))),
        min_cosine=min_cosine,
        product_dtype="float32",
        device=device,
    ).pairs
    return pairs, assignment.home


def settled(n_images, **changes):
    return {
        "content": None,
        "alive": np.ones(n_images, np.bool_),
        "order": np.arange(n_images),
        "min_cosine": 0.9,
        **changes,
    }


def naive_greedy(rows, order, alive, content, min_cosine):
    """O(N^2) reference on cosines, identical vectors and equal content merged first."""
    exact = rows.astype(np.float64)
    cosine = np.minimum(np.float32(exact @ exact.T), np.float32(1.0))
    same = (rows[:, None] == rows[None]).all(axis=2) | (content[:, None] == content[None])
    for _ in range(len(rows)):  # transitive closure
        same = same @ same
    linked = (same @ (cosine >= np.float32(min_cosine)) @ same) > 0
    kept_by = np.full(len(rows), -1)
    kept = []
    for image in order:
        if not alive[image]:
            continue
        twins = [k for k in order if alive[k] and same[image, k]]
        if twins[0] != image:
            kept_by[image] = twins[0] if kept_by[twins[0]] < 0 else kept_by[twins[0]]
            continue
        standing = [k for k in kept if linked[image, k]]
        if standing:
            best = [
                max(
                    cosine[m, n]
                    for m in np.flatnonzero(same[image])
                    for n in np.flatnonzero(same[k])
                )
                for k in standing
            ]
            kept_by[image] = standing[int(np.argmax(best))]
        else:
            kept.append(image)
    return kept_by


def test_a_chain_keeps_every_other_image():
    result = resolve(pair_table((0, 1, 0.95), (1, 2, 0.93)), **settled(3))
    assert result.kept_by.tolist() == [-1, 0, -1]
    np.testing.assert_array_equal(result.cosine, np.float32([np.nan, 0.95, np.nan]))
    assert result.removed.tolist() == [False, True, False]


def test_names_the_nearest_kept_image_and_the_earlier_on_a_tie():
    edges = [(0, 2, 0.91), (1, 2, 0.95), (0, 3, 0.92), (1, 3, 0.92)]
    result = resolve(pair_table(*edges), **settled(4))
    assert result.kept_by.tolist() == [-1, -1, 1, 0]


def test_a_smaller_eps_uses_the_same_pairs():
    pairs = pair_table((0, 1, 0.95), (1, 2, 0.99))
    assert resolve(pairs, **settled(3, min_cosine=0.9)).kept_by.tolist() == [-1, 0, -1]
    assert resolve(pairs, **settled(3, min_cosine=0.97)).kept_by.tolist() == [-1, -1, 1]
    edge = np.float32(0.95)
    assert resolve(pairs, **settled(3, min_cosine=float(edge))).kept_by[1] == 0


def test_filtered_images_remove_nothing_and_are_not_removed():
    pairs = pair_table((0, 1, 0.95), (1, 2, 0.95))
    alive = np.array([False, True, True])
    assert resolve(pairs, **settled(3, alive=alive)).kept_by.tolist() == [-1, -1, 1]


def test_copies_share_the_verdict_of_their_best_live_member():
    pairs = pair_table((0, 3, 0.95), (1, 2, None), (1, 4, None), (0, 1, 0.92))
    result = resolve(pairs, **settled(5))
    assert result.kept_by.tolist() == [-1, 0, 0, 0, 0]
    np.testing.assert_allclose(result.cosine[1:], [0.92, 0.92, 0.95, 0.92], rtol=1e-6)
    last_first = resolve(pairs, **settled(5, order=np.array([4, 3, 2, 1, 0])))
    assert last_first.kept_by.tolist() == [3, 4, 4, -1, -1]
    assert last_first.cosine[1] == 1.0
    dead_representative = np.array([True, False, True, True, True])
    result = resolve(
        pairs, **settled(5, alive=dead_representative, order=np.arange(5)[::-1].copy())
    )
    assert result.kept_by.tolist() == [3, -1, 4, -1, -1]


def test_equal_bytes_are_one_group_whatever_the_vectors_say():
    content = np.array([b"a", b"b", b"a", b"c"])
    result = resolve(pair_table((1, 2, None)), **settled(4, content=content))
    assert result.kept_by.tolist() == [-1, 0, 0, -1]
    assert result.cosine[1:3].tolist() == [1.0, 1.0]


def test_no_image_one_image_and_all_identical():
    assert len(resolve(pair_table(), **settled(0)).kept_by) == 0
    assert resolve(pair_table(), **settled(1)).kept_by.tolist() == [-1]
    star = pair_table(*[(0, k, None) for k in range(1, 6)])
    assert resolve(star, **settled(6)).kept_by.tolist() == [-1, 0, 0, 0, 0, 0]


def test_greedy_and_semdedup_on_the_chain_of_angles():
    angles = np.deg2rad(np.arange(0, 91, 15))
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    min_cosine = float(np.cos(np.deg2rad(16)))
    pairs, home = search(rows, unit([[1, 1]]), min_cosine)
    arguments = settled(7, min_cosine=min_cosine)
    assert np.flatnonzero(~resolve(pairs, **arguments).removed).tolist() == [0, 2, 4, 6]
    del arguments["content"]
    semdedup = resolve_semdedup(pairs, home=home, **arguments)
    assert np.flatnonzero(~semdedup.removed).tolist() == [0]
    assert semdedup.kept_by.tolist() == [-1, 0, 1, 2, 3, 4, 5]


def test_semdedup_ignores_pairs_across_cells_and_removes_all_later_copies():
    pairs = pair_table((0, 1, 0.95), (1, 2, 0.95), (2, 3, None))
    arguments = settled(4, home=np.array([0, 0, 1, 1], np.int32))
    del arguments["content"]
    result = resolve_semdedup(pairs, **arguments)
    assert result.kept_by.tolist() == [-1, 0, -1, 2]
    same_cell = resolve_semdedup(pairs, **{**arguments, "home": np.zeros(4, np.int32)})
    assert same_cell.kept_by.tolist() == [-1, 0, 1, 2]
    assert same_cell.cosine[3] == 1.0


def test_a_long_chain_resolves_in_one_pass():
    n = 20_000
    a = np.arange(n - 1)
    chain = Pairs(a, a + 1, np.full(n - 1, 0.95, np.float32), np.zeros(n - 1, bool))
    result = resolve(chain, **settled(n))
    assert result.kept_by[::2].tolist() == [-1] * (n // 2)
    assert result.kept_by[1::2].tolist() == list(range(0, n, 2))
    assert np.isnan(result.cosine[::2]).all()


def test_strongest_edge_orders_negative_cosines():
    edges = [(0, 3, -0.5), (1, 3, -0.25), (2, 3, -0.75)]
    result = resolve(pair_table(*edges), **settled(4, min_cosine=-1))
    assert result.kept_by.tolist() == [-1, -1, -1, 1]
    assert result.cosine[3] == np.float32(-0.25)


@pytest.fixture
def tiny_runs(monkeypatch):
    """Runs and pieces of a few records each, all of them on disk."""
    monkeypatch.setattr(sorted_runs, "RUN_BYTES", 200)
    monkeypatch.setattr(sorted_runs, "_N_MARKS", 3)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    n_pairs=st.integers(0, 150),
    run_bytes=st.sampled_from([64, 300, 2**25]),
    is_wide=st.booleans(),
)
def test_both_rules_as_they_are_said_however_the_runs_are_cut(seed, n, n_pairs, run_bytes, is_wide):
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.integers(n, size=(2, n_pairs)), axis=0)
    ends = ends[:, ends[0] < ends[1]]
    cosine = np.round(rng.uniform(0.88, 1, ends.shape[1]), 2).astype(np.float32)  # ties
    identical = rng.random(len(cosine)) < 0.1
    cosine[identical] = 1
    pairs = Pairs(*ends, cosine, identical)
    content = np.where(rng.random(n) < 0.2, rng.integers(4, size=n), 4 + np.arange(n))
    home = rng.integers(3, size=n)
    policy = {"alive": rng.random(n) < 0.8, "order": rng.permutation(n), "min_cosine": 0.93}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_runs, "RUN_BYTES", run_bytes)
        patch.setattr(sorted_runs, "_N_MARKS", 3)
        patch.setattr(nodes, "_MAX_NARROW", 0 if is_wide else 2**32 - 1)
        greedy = resolve(pairs, content=content, **policy)
        semdedup = resolve_semdedup(pairs, home=home, **policy)
    same_bytes = [(int(np.flatnonzero(content == content[i])[0]), i) for i in range(n)]
    copies = [*ends[:, identical].T.tolist(), *same_bytes]
    everything, one_cell = np.ones(len(cosine), bool), home[ends[0]] == home[ends[1]]
    assert_same(
        greedy, resolve_plainly(pairs, copies=copies, chosen=everything, is_greedy=True, **policy)
    )
    copies = ends[:, identical & one_cell].T.tolist()
    assert_same(
        semdedup, resolve_plainly(pairs, copies=copies, chosen=one_cell, is_greedy=False, **policy)
    )


def assert_same(left, right):
    np.testing.assert_array_equal(left.kept_by, right.kept_by)
    np.testing.assert_array_equal(left.cosine, right.cosine)


def test_rows_beyond_32_bits_are_swept_and_linked(tiny_runs):
    n, base = 2**32 + 40, 2**32
    node = np.broadcast_to(np.int64(0), n)  # 2**32 of them are not looked at
    no_copies = np.zeros(0, np.int64)
    edges = SortedRuns("first", tempfile.TemporaryFile)
    first = np.array([5, 6, base, base + 1, base + 1, 4, 3])
    second = np.array([base, base + 1, base + 2, base + 3, base + 4, base + 3, base + 3])
    edges.append(edge_records(first, second, np.full(7, 0.95, np.float32)))
    graph = Graph(Nodes(node, None, no_copies, no_copies), edges, 0.9, None, tempfile.TemporaryFile)
    removed = removed_greedily(graph)
    assert (base + np.flatnonzero(removed[base:])).tolist() == [base, base + 1, base + 3]
    links = list(verdicts(graph, greedy_links(graph, removed), copies_follow=True))
    found = np.concatenate(links)
    assert found["row"].tolist() == [base, base + 1, base + 3]
    assert found["kept"].tolist() == [5, 6, 3]


def test_one_strongest_link_each_beyond_32_bits():
    first = np.array([2**33 + 1, 2**33, 7, 2**33])
    second = np.array([2**34, 2**34, 2**34 + 1, 2**34 + 1])
    found = strongest_by_second(edge_records(first, second, np.float32([0.9, 0.9, 0.8, 0.9])))
    assert found["first"].tolist() == [2**33, 2**33]
    assert found["second"].tolist() == [2**34, 2**34 + 1]


def test_copies_are_found_by_the_whole_hash_in_any_number_of_runs(tiny_runs):
    rng = np.random.default_rng(0)
    hashes = rng.integers(3, size=(300, 2)).astype(np.uint64)
    finder = CopyFinder(np.dtype(np.uint32), tempfile.TemporaryFile)
    for start in range(0, 300, 7):
        rows = np.arange(start, min(start + 7, 300))
        finder.append(rows, hashes[rows])
    first, other = finder.copies()
    firsts = {}
    expected = [(firsts.setdefault(tuple(row), i), i) for i, row in enumerate(hashes.tolist())]
    expected = [(a, b) for a, b in expected if a != b]
    assert sorted(zip(first.tolist(), other.tolist(), strict=True)) == sorted(expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), n_links=st.integers(0, 80))
def test_identity_classes_are_connected_components(seed, n, n_links):
    links = np.random.default_rng(seed).integers(n, size=(2, n_links))
    label = list(range(n))
    for _ in range(n):
        for a, b in links.T:
            label[a] = label[b] = min(label[a], label[b])
    rows, place = identity_classes([(links[0], links[1])])
    assert rows.tolist() == sorted(set(links.ravel().tolist()))
    assert rows[place].tolist() == [label[row] for row in rows]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_images=st.integers(1, 50),
    n_cells=st.integers(1, 8),
    eps=st.floats(0.01, 0.3),
)
def test_guarantee_reference_and_invariance(device, seed, n_images, n_cells, eps):
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(max(1, n_images // 6), 4)))
    rows = centres[rng.integers(len(centres), size=n_images)]
    rows = unit(rows + rng.normal(size=rows.shape) * rng.choice([0.0, 0.15], size=(n_images, 1)))
    content = np.where(rng.random(n_images) < 0.2, 0, 1 + np.arange(n_images))
    content[content == 0] = n_images + rng.integers(3, size=(content == 0).sum())
    alive, order = rng.random(n_images) < 0.85, rng.permutation(n_images)
    centroids = unit(rng.normal(size=(n_cells, 4)))
    pairs, _ = search(rows, centroids, 1 - eps, device)
    arguments = {"content": content, "alive": alive, "order": order, "min_cosine": 1 - eps}
    result = resolve(pairs, **arguments)

    expected = naive_greedy(rows, order, alive, content, 1 - eps)
    np.testing.assert_array_equal(result.kept_by, expected)

    kept = alive & ~result.removed
    assert kept[result.kept_by[result.removed]].all()
    assert (result.cosine[result.removed] >= np.float32(1 - eps)).all()
    exact = rows[kept].astype(np.float64)
    among_kept = np.triu(np.float32(exact @ exact.T), 1)
    assert not (among_kept >= np.float32(1 - eps)).any()

    one_cell, _ = search(rows, unit(rng.normal(size=(1, 4))), 1 - eps)
    np.testing.assert_array_equal(resolve(one_cell, **arguments).kept_by, result.kept_by)

    moved = rng.permutation(n_images)  # row i of the shuffled data is row moved[i]
    shuffled, _ = search(rows[moved], centroids, 1 - eps)
    again = resolve(
        shuffled,
        content=content[moved],
        alive=alive[moved],
        order=rank_of(moved)[order],
        min_cosine=1 - eps,
    )
    renamed = np.where(again.kept_by >= 0, moved[again.kept_by], -1)
    np.testing.assert_array_equal(renamed, result.kept_by[moved])
    np.testing.assert_array_equal(again.cosine, result.cosine[moved])


def test_verdicts_through_pools_are_the_same_on_every_device(device):
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(4000, 64)))
    rows[:800] = unit(rows[:1] + 0.02 * rng.normal(size=(800, 64)))  # cosines about 0.97
    rows[1500:2500] = unit(rows[2500:3500] + 0.03 * rng.normal(size=(1000, 64)))
    rows[3900:] = rows[3800:3900]
    rows = rows[rng.permutation(4000)]
    pairs, home = search(rows, rows[:40], 0.95)
    there, _ = search(rows, rows[:40], 0.95, device)
    assert min(len(pairs.dense.row), len(there.dense.row)) >= 800
    arguments = settled(4000, order=rng.permutation(4000), vectors=rows.__getitem__)
    for min_cosine in (0.95, 0.97):
        changed = {**arguments, "min_cosine": min_cosine}
        expected = resolve(pairs, **changed)
        found = resolve(there, device=device, **changed)
        assert expected.removed.sum() > 1000
        np.testing.assert_array_equal(found.kept_by, expected.kept_by)
        np.testing.assert_array_equal(found.cosine, expected.cosine)
        del changed["content"]
        expected = resolve_semdedup(pairs, home=home, **changed)
        found = resolve_semdedup(there, home=home, device=device, **changed)
        np.testing.assert_array_equal(found.kept_by, expected.kept_by)
        np.testing.assert_array_equal(found.cosine, expected.cosine)


def test_new_images_change_no_old_verdict():
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(500, 4)))
    centroids = train_centroids(rows, n_clusters=10, n_iterations=5, seed=0)
    old, _ = search(rows[:300], centroids, 0.97)
    new, _ = search(rows, centroids, 0.97)
    before = resolve(old, **settled(300, min_cosine=0.97))
    after = resolve(new, **settled(500, min_cosine=0.97))
    np.testing.assert_array_equal(before.kept_by, after.kept_by[:300])
    np.testing.assert_array_equal(before.cosine, after.cosine[:300])
