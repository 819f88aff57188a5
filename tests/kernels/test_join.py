from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from resolved import resolve

from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.cells import visit_cells
from curator_assets.kernels.join import EarlierSearch
from curator_assets.kernels.pairs import find_pairs
from curator_assets.kernels.prefix import principal_directions

WIDTH, N_CELLS = 200, 8
SETTLED = {"product_dtype": "float32", "device": "cpu"}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pool_of_images(rng, n_images):
    """Lone images, near-duplicates and copies of some, in few topics."""
    topics = unit(0.05 + 0.05 * rng.normal(size=(6, WIDTH)))
    rows = topics[rng.integers(6, size=n_images)] + topics[rng.integers(6, size=n_images)]
    rows = unit(rows + 0.02 * rng.normal(size=rows.shape))
    near = rng.random(n_images) < 0.5
    source = rows[rng.integers(n_images, size=n_images)]
    spread = rng.choice([0, 0.003, 0.01], (n_images, 1))
    rows[near] = unit(source + spread * rng.normal(size=rows.shape))[near]
    return rows


class Search:
    """A search of the cells of one group over what lies there now."""

    def __init__(self, images, cells, min_cosine, **changes):
        centroids = unit(images[: 2 * N_CELLS : 2])
        self.images, self.cells, self.settled = images, cells, {**SETTLED, **changes}
        self.settled["min_cosine"] = min_cosine
        self.assignment = {
            "centroids": centroids,
            "min_cosine": min_cosine,
            "max_visits": None,
            "bound_fraction": 1.0,
            "device": "cpu",
        }
        self.basis = principal_directions(images, centroids)

    def group(self, there):
        """Of images by number, in this order; a number may come twice."""
        rows = self.images[there]
        return CellGroup.of(rows, visit_cells(rows, **self.assignment), self.cells, self.basis)

    def all(self, there, **changes):
        return find_pairs(self.group(there), **{**self.settled, **changes})

    def next(self, there, earlier):
        return find_pairs(self.group(there), earlier=earlier, **self.settled)


def as_earlier(found):
    place = np.full(1 + found.searched.max(initial=0), -1)
    place[found.searched] = np.arange(len(found.searched))
    pairs, listed = found.pairs, ~found.pairs.identical
    return EarlierSearch(
        key=found.key,
        first=place[pairs.a[listed]],
        second=place[pairs.b[listed]],
        cosine=pairs.cosine[listed],
        cell=found.cell[listed],
        pooled=place[pairs.dense.row],
        pool=pairs.dense.cell,
    )


def assert_equal(found, expected):
    for name in ("a", "b", "cosine", "identical"):
        ours, theirs = getattr(found.pairs, name), getattr(expected.pairs, name)
        np.testing.assert_array_equal(ours, theirs)
    for name in ("cell", "searched", "key"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    eps=st.sampled_from([0.005, 0.02, 0.06]),
    cells=st.sampled_from([range(N_CELLS), [0, 3, 5], [7]]),
    steps=st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 0.5)), min_size=1, max_size=5),
)
def test_any_drops_removals_and_new_orders_give_the_pairs_of_one_search(seed, eps, cells, steps):
    rng = np.random.default_rng(seed)
    images = pool_of_images(rng, 150)
    search = Search(images, cells, 1 - eps, dense_degree=None)
    there = rng.choice(150, 60)
    found = search.all(there)
    for removed, added in steps:
        there = there[rng.random(len(there)) >= removed]
        there = np.concatenate([there, rng.choice(150, int(added * 60))])
        there = rng.permutation(there)  # tars are renamed, merged and split
        found, expected = search.next(there, as_earlier(found)), search.all(there)
        assert_equal(found, expected)
        assert found.counts.n_compared <= expected.counts.n_compared


def test_only_new_against_all_is_compared():
    rng = np.random.default_rng(0)
    images = unit(0.1 + 0.05 * rng.normal(size=(2000, WIDTH)))
    search = Search(images, range(N_CELLS), 0.98)
    everyone, before = np.arange(2000), np.arange(1980)
    whole, found = search.all(everyone), search.all(before)
    joined = search.next(everyone, as_earlier(found))
    assert_equal(joined, whole)
    assert joined.new.tolist() == list(range(1980, 2000))
    assert whole.counts.n_compared >= whole.counts.n_comparable > 400_000
    assert 0 < joined.counts.n_compared < 0.025 * whole.counts.n_compared
    fewer = search.next(before, as_earlier(whole))
    assert_equal(fewer, found)
    assert fewer.counts.n_compared == 0
    assert search.next(before[::-1], as_earlier(found)).counts.n_compared == 0


def test_copies_are_pointed_anew_when_the_first_of_them_goes_or_another_comes_before_it():
    rng = np.random.default_rng(1)
    images = unit(0.1 + 0.05 * rng.normal(size=(40, WIDTH)))
    images[1] = unit(images[:1] + 0.003 * rng.normal(size=WIDTH))
    search = Search(images, range(N_CELLS), 0.98)
    found = search.all([0, 1, 0, 2, 0])
    assert list(zip(found.pairs.a, found.pairs.b, strict=True)) == [(0, 1), (0, 2), (0, 4)]
    without = search.next([1, 0, 2, 0], as_earlier(found))
    assert list(zip(without.pairs.a, without.pairs.b, strict=True)) == [(0, 1), (1, 3)]
    assert without.pairs.identical.tolist() == [False, True]
    before = search.next([0, 1, 0, 2, 0], as_earlier(without))
    assert_equal(before, found)
    assert without.counts.n_compared == before.counts.n_compared == 0


@settings(max_examples=10, deadline=None)
@example(seed=1791, limit=1, steps=[(0.375, 0.0)])  # of a cell that loses members, pairs are left
@given(
    seed=st.integers(0, 10_000),
    limit=st.integers(1, 4),
    steps=st.lists(st.tuples(st.floats(0, 0.4), st.floats(0, 0.6)), min_size=1, max_size=4),
)
def test_with_pools_every_verdict_is_that_of_all_pairs(seed, limit, steps):
    rng = np.random.default_rng(seed)
    images = pool_of_images(rng, 120)
    clump = rng.choice(120, 50, replace=False)
    images[clump] = unit(images[clump[:1]] + 0.004 * rng.normal(size=(50, WIDTH)))
    search = Search(images, range(N_CELLS), 0.97, dense_degree=limit)
    there = rng.choice(120, 50)
    found, most_members = search.all(there), members_of(search, there)
    for removed, added in steps:
        there = there[rng.random(len(there)) >= removed]
        there = rng.permutation(np.concatenate([there, rng.choice(120, int(added * 60))]))
        found = search.next(there, as_earlier(found))
        every = search.all(there, dense_degree=None)
        policy = {
            "content": None,
            "alive": np.ones(len(there), np.bool_),
            "order": rng.permutation(len(there)),
            "min_cosine": 0.97,
            "vectors": lambda rows, there=there: images[there][rows],
        }
        ours, theirs = resolve(found.pairs, **policy), resolve(every.pairs, **policy)
        np.testing.assert_array_equal(ours.kept_by, theirs.kept_by)
        np.testing.assert_array_equal(ours.cosine, theirs.cosine)
        in_cell = np.bincount(found.cell[~found.pairs.identical], minlength=N_CELLS)
        most_members = np.maximum(most_members, members_of(search, there))
        assert (in_cell <= limit * most_members).all()  # a clump is never listed


def members_of(search, there):
    """Different residents and visitors of each cell."""
    group = search.group(there)
    one_each = group.leaders() == np.arange(len(there))
    visitor = np.repeat(one_each, np.diff(group.visit_offsets))
    residents = np.bincount(group.home[one_each], minlength=N_CELLS)
    return residents + np.bincount(group.visits[visitor], minlength=N_CELLS)


def test_keys_whose_first_halves_are_equal_by_chance_are_told_apart():
    rng = np.random.default_rng(0)
    group = Search(pool_of_images(rng, 60), range(N_CELLS), 0.97).group(np.arange(60))
    key = np.stack([np.repeat([3, 5, 3], 20), rng.permutation(60)], axis=1).astype(np.uint64)
    key[7] = key[50]
    group = replace(group, key=key)
    leader = group.leaders()
    assert leader.tolist() == [7 if i == 50 else i for i in range(60)]
    places = np.flatnonzero(leader == np.arange(60))
    assert group.places_of(key[places], places).tolist() == places.tolist()
    assert group.places_of(key[[50]], places).tolist() == [7]
    absent = np.array([[3, 99], [4, 0], [9, 9]], np.uint64)
    assert group.places_of(absent, places).tolist() == [-1, -1, -1]
