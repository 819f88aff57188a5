import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.cells import UNIT_TOLERANCE, visit_cells
from curator_assets.kernels.kmeans import train_centroids
from curator_assets.kernels.pairs import find_pairs
from curator_assets.kernels.prefix import PrefixBasis, principal_directions
from curator_assets.kernels.products import float32_product_error, threads

FLOAT32 = {"product_dtype": "float32", "device": "cpu"}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def some_basis(rng, width, n_directions):
    directions = np.linalg.qr(rng.normal(size=(width, n_directions)))[0]
    return PrefixBasis(directions.astype(np.float32))


def excess(basis, rows):
    """By how much each cosine exceeds what the float32 product of the prefixes says."""
    prefixes = basis.prefixes(rows)
    return rows.astype(np.float64) @ rows.T.astype(np.float64) - prefixes @ prefixes.T


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    width=st.sampled_from([1, 2, 3, 17, 64, 257, 768, 1536]),
    share=st.floats(0, 1),
    off_norm=st.sampled_from([0.0, 0.9 * UNIT_TOLERANCE]),
)
def test_no_cosine_exceeds_its_bound(seed, width, share, off_norm):
    rng = np.random.default_rng(seed)
    basis = some_basis(rng, width, max(1, min(48, round(share * width))))
    inside = rng.normal(size=(20, basis.directions.shape[1])) @ basis.directions.T
    noise = rng.normal(size=(20, width)) * rng.choice([0, 1e-3, 1], (20, 1))
    rows = unit(inside + noise + 1e-6)
    rows = np.concatenate([rows, unit(rows + 1e-4 * rng.normal(size=rows.shape))])
    rows *= np.float32(1 + off_norm)
    limit = basis.slack + float32_product_error(basis.directions.shape[1] + 1)
    assert excess(basis, rows).max() <= limit


@pytest.mark.parametrize("width", [192, 512, 768, 1536])
def test_the_number_of_threads_makes_no_difference(width):
    rng = np.random.default_rng(0)
    basis = some_basis(rng, width, 48)
    for n_rows in [1, 17, 30, 97, 131, 400]:
        rows, found = unit(rng.normal(size=(n_rows, width))), set()
        for n_threads in [1, 2, 3, 4, 7]:
            with threads(n_threads):
                found.add(basis.prefixes(rows).tobytes())
                assert torch.get_num_threads() == n_threads
        assert len(found) == 1


def test_without_slack_rounding_takes_bounds_below_the_cosine():
    rng = np.random.default_rng(0)
    basis = some_basis(rng, 768, 48)
    rows = unit(
        rng.normal(size=(300, 48)) @ basis.directions.T + 0.02 * rng.normal(size=(300, 768))
    )
    along = basis.prefixes(rows)[:, :-1]
    left = (rows.astype(np.float64) ** 2).sum(axis=1) - (along.astype(np.float64) ** 2).sum(axis=1)
    plain = np.column_stack([along, np.sqrt(left)]).astype(np.float32)
    cosines = (rows.astype(np.float64) ** 2).sum(axis=1)
    assert (cosines - np.einsum("np,np->n", plain, plain)).max() > 3e-8
    assert np.diag(excess(basis, rows)).max() <= basis.slack + float32_product_error(49)


def test_directions_are_those_along_which_a_cell_spreads():
    rng = np.random.default_rng(0)
    spread = np.zeros((3000, 256))
    spread[:, :48] = rng.normal(size=(3000, 48)) * 0.05
    centre = unit(np.eye(1, 256, 255))
    rows = unit(centre + spread + 0.001 * rng.normal(size=spread.shape))
    basis = principal_directions(rows, centre)
    assert basis.directions.shape == (256, 48)
    assert np.linalg.norm(basis.directions[:48]) > 0.99 * np.sqrt(48)
    assert basis.prefixes(rows)[:, -1].min() > 0.9  # what all have in common is left
    assert principal_directions(rows[:, :191], centre[:, :191]) is None  # too narrow to gain


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    width=st.sampled_from([2, 5, 200, 768, 1536]),
    eps=st.sampled_from([0.001, 0.01, 0.05, 0.3]),
    tile=st.sampled_from([(3, 5), (256, 8192)]),
    dtype=st.sampled_from(["float32", "float16"]),
    block_bytes=st.sampled_from([1, 2**28]),
)
def test_pairs_at_the_threshold_are_those_of_brute_force_with_any_prefixes(
    device, seed, width, eps, tile, dtype, block_bytes
):
    rng = np.random.default_rng(seed)
    base = unit(rng.normal(size=(30, width)))
    across = rng.normal(size=base.shape)
    across -= (across * base).sum(axis=1, keepdims=True) * base
    across = unit(across)
    cosine = 1 - eps + rng.choice([-1e-6, -1e-8, 0, 1e-8, 1e-6], (30, 1))  # nearly all undecided
    twins = unit(cosine * base + np.sqrt(1 - cosine**2) * across)
    rows = np.concatenate([base, twins, base[:5]])
    basis = some_basis(rng, width, max(1, min(48, width // 2)))
    centroids = unit(rng.normal(size=(6, width)))
    assignment = visit_cells(
        rows, centroids, min_cosine=1 - eps, max_visits=None, bound_fraction=1.0, device="cpu"
    )
    found = find_pairs(
        CellGroup.of(rows, assignment, range(6), basis),
        min_cosine=1 - eps,
        product_dtype=dtype,
        device=device,
        tile_rows=tile[0],
        tile_columns=tile[1],
        block_bytes=block_bytes,
    ).pairs
    exact = np.float32(rows.astype(np.float64) @ rows.T.astype(np.float64))
    a, b = np.nonzero(np.triu(np.minimum(exact, 1) >= np.float32(1 - eps), 1))
    copy = (b >= 60) | (a >= 60)  # of a vector: one row ties it to the first
    listed = ~found.identical
    assert found.a[listed].tolist() == a[~copy].tolist()
    assert found.b[listed].tolist() == b[~copy].tolist()
    assert found.b[~listed].tolist() == [60, 61, 62, 63, 64]


def test_real_clip_vectors_are_proposed_and_found(shared_data):
    rows = unit(np.load(shared_data / "clip_vectors" / "manuscripts_vit_b_32_629x512.npy"))
    centroids = train_centroids(rows, n_clusters=24, n_iterations=10, seed=0)
    basis = principal_directions(rows, centroids)
    assignment = visit_cells(
        rows, centroids, min_cosine=0.97, max_visits=None, bound_fraction=1.0, device="cpu"
    )
    by_prefix, by_vectors = (
        find_pairs(CellGroup.of(rows, assignment, range(24), b), min_cosine=0.97, **FLOAT32)
        for b in (basis, None)
    )
    assert by_prefix.counts.n_cells_by_prefix > 12
    assert by_vectors.counts.n_cells_by_prefix == 0
    for name in ("a", "b", "cosine"):
        ours, theirs = getattr(by_prefix.pairs, name), getattr(by_vectors.pairs, name)
        np.testing.assert_array_equal(ours, theirs)


def test_vectors_of_one_number():
    rows = np.array([[1], [-1], [1]], np.float32)
    assignment = visit_cells(
        rows, rows[:2], min_cosine=0.9, max_visits=None, bound_fraction=1.0, device="cpu"
    )
    basis = PrefixBasis(np.ones((1, 1), np.float32))
    found = find_pairs(CellGroup.of(rows, assignment, [0, 1], basis), min_cosine=0.9, **FLOAT32)
    assert (found.pairs.a.tolist(), found.pairs.b.tolist()) == ([0], [2])


@pytest.mark.parametrize("n_rows", [0, 1])
def test_few_rows(n_rows):
    rows = np.eye(n_rows, 256, dtype=np.float32)
    basis = some_basis(np.random.default_rng(0), 256, 48)
    assert basis.prefixes(rows).shape == (n_rows, 49)
