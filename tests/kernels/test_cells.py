from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curator_assets.kernels import cells
from curator_assets.kernels.cells import CellAssignment, visit_cells
from curator_assets.kernels.codebook import Codebook
from curator_assets.kernels.products import exact_products, threads

EXACT = {"max_visits": None, "bound_fraction": 1.0}
ON_CPU = {**EXACT, "device": "cpu"}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def unit64(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def degrees(*angles):
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def cos_deg(angle):
    return float(np.cos(np.deg2rad(angle)))


def visits_of(assignment, image):
    start, stop = assignment.visit_offsets[image : image + 2]
    return assignment.visits[start:stop].tolist()


@contextmanager
def any_products(width):
    """Products as far from the true ones as a float32 sum of ``width`` terms may be."""

    def products(self, tile):
        exact = tile.double() @ self.centroids.double().T
        signs = np.random.default_rng(0).choice([-1.0, 1.0], exact.shape)
        return (exact + torch.from_numpy(signs).to(tile.device) * (width - 1) * 2.0**-24).float()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Codebook, "products", products)
        yield


def test_visits_exactly_the_cells_within_half_the_angle(device):
    centroids = degrees(0, 40, 80)  # boundaries at 20 and 60 degrees
    images = degrees(0, 14, 16, 24, 26, 61)
    assignment = visit_cells(images, centroids, min_cosine=cos_deg(10), device=device, **EXACT)
    assert assignment.home.tolist() == [0, 0, 0, 1, 1, 2]
    assert [visits_of(assignment, i) for i in range(6)] == [[], [], [1], [0], [], [1]]
    assert assignment.cosine[1] == pytest.approx(cos_deg(14), abs=1e-6)


def test_fast_rule_keeps_the_nearest_and_narrows_the_bound(device):
    centroids = degrees(0, 40, -44)
    image = degrees(1)  # 19 degrees to cell 1, 23 to cell 2
    wide = {"min_cosine": cos_deg(60), "device": device}
    full = visit_cells(image, centroids, max_visits=None, bound_fraction=1.0, **wide)
    one = visit_cells(image, centroids, max_visits=1, bound_fraction=1.0, **wide)
    none = visit_cells(image, centroids, max_visits=0, bound_fraction=1.0, **wide)
    narrow = visit_cells(image, centroids, max_visits=None, bound_fraction=0.7, **wide)
    assert visits_of(full, 0) == [1, 2]
    assert visits_of(one, 0) == [1]
    assert visits_of(none, 0) == []
    assert visits_of(narrow, 0) == [1]


def test_coincident_centroids_always_visit_each_other(device):
    centroids = degrees(0, 0, 90)
    nearly = centroids.copy()
    nearly[1] = degrees(1e-4)
    for codebook in (centroids, nearly):
        assignment = visit_cells(
            degrees(0, 5, 90), codebook, min_cosine=1.0, device=device, **EXACT
        )
        for image in (0, 1):
            assert visits_of(assignment, image) == [1 - assignment.home[image]]
        assert visits_of(assignment, 2) == []
        one = visit_cells(
            degrees(0), codebook, min_cosine=0.9, max_visits=1, bound_fraction=0.5, device=device
        )
        assert visits_of(one, 0) == [1 - one.home[0]]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    width=st.integers(2, 8),
    n_cells=st.integers(1, 20),
    eps=st.floats(0.0, 0.5),
    products=st.sampled_from([nullcontext, any_products]),
)
def test_every_pair_meets_in_a_cell(device, seed, width, n_cells, eps, products):
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(60, width)))
    rows = np.concatenate([rows, unit(rows + rng.normal(size=rows.shape) * eps)])
    centroids = unit(rng.normal(size=(n_cells, width)))
    with products(width):
        assignment = visit_cells(rows, centroids, min_cosine=1 - eps, device=device, **EXACT)
    seen = np.zeros((len(rows), n_cells), bool)
    seen[np.arange(len(rows)), assignment.home] = True
    seen[np.repeat(np.arange(len(rows)), np.diff(assignment.visit_offsets)), assignment.visits] = 1
    near = np.float32(rows.astype(np.float64) @ rows.T.astype(np.float64)) >= np.float32(1 - eps)
    for x, y in np.argwhere(near):
        assert seen[x, assignment.home[y]] or seen[y, assignment.home[x]]


@pytest.mark.parametrize("table_elements", [cells._TABLE_ELEMENTS, 0])
def test_a_row_does_not_depend_on_its_neighbours(device, monkeypatch, table_elements):
    monkeypatch.setattr(cells, "_TABLE_ELEMENTS", table_elements)
    n_cells, width = (1145, 256) if device == "cpu" else (2999, 768)  # as large as in a search
    rng = np.random.default_rng(0)
    rows, centroids = unit(rng.normal(size=(2100, width))), unit(rng.normal(size=(n_cells, width)))
    copies = [7, 500, 1023, 1024, 2099]
    rows[copies] = rows[0]
    arguments = {"min_cosine": 0.95, "max_visits": 3, "bound_fraction": 0.9, "device": device}
    whole = visit_cells(rows, centroids, **arguments)
    cuts = np.split(rows, [1, 10, 1025])
    parts = CellAssignment.concatenate([visit_cells(p, centroids, **arguments) for p in cuts])
    for name in ("home", "cosine", "visit_offsets", "visits"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    for copy in copies:
        assert whole.home[copy] == whole.home[0]
        assert whole.cosine[copy] == whole.cosine[0]
        assert visits_of(whole, copy) == visits_of(whole, 0)


@contextmanager
def plain_products():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        yield


@contextmanager
def small_tiles():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curator_assets.kernels.codebook._MAX_TILE_ROWS", 64)
        yield


def between_centroids(width, n_cells):
    """Rows at, between and around centroids, of which some are equal or 1e-7 apart."""
    rng = np.random.default_rng(0)
    centroids = unit(rng.normal(size=(n_cells, width)))
    centroids[1::4] = centroids[::4][: len(centroids[1::4])]
    near = centroids[2::4]
    centroids[2::4] = unit(centroids[::4][: len(near)] + 1e-7 * rng.normal(size=near.shape))
    left, right = rng.integers(n_cells, size=(2, 200))
    middle = centroids[left] + centroids[right]
    middle = unit(np.where(np.linalg.norm(middle, axis=1, keepdims=True) < 0.1, 1.0, middle))
    return np.concatenate([centroids, middle, unit(rng.normal(size=(50, width)))]), centroids


def exact_homes(rows, centroids):
    """Home and cosine by correctly rounded products of each row with each centroid."""
    grid = np.indices((len(rows), len(centroids))).reshape(2, -1)
    sides = torch.from_numpy(rows), torch.from_numpy(centroids)
    products = exact_products(*sides, *torch.from_numpy(grid)).reshape(len(rows), -1)
    return products.argmax(axis=1), np.minimum(products.max(axis=1), np.float32(1.0))


@pytest.mark.parametrize("width", [1, 3, 64, 768, 1536])
@pytest.mark.parametrize("n_cells", [1, 150])
def test_homes_and_cosines_do_not_depend_on_who_multiplies(device, width, n_cells):
    rows, centroids = between_centroids(width, n_cells)
    home, cosine = exact_homes(rows, centroids)
    everyone = [nullcontext(), plain_products(), any_products(width), small_tiles(), threads(3)]
    for who in everyone:
        with who:
            found = visit_cells(rows, centroids, min_cosine=0.97, device=device, **EXACT)
        np.testing.assert_array_equal(found.home, home)
        np.testing.assert_array_equal(found.cosine, cosine)


def test_the_nearer_of_two_cells_is_home_though_both_cosines_round_to_one(device):
    rows = degrees(0, 0)
    centroids = np.concatenate([degrees(0), np.float32(1 + 9e-6) * degrees(0), degrees(90)])
    found = visit_cells(rows, centroids, min_cosine=0.9, device=device, **EXACT)
    assert found.home.tolist() == [1, 1]
    assert found.cosine.tolist() == [1.0, 1.0]


def test_the_codebook_is_packed_where_onednn_is_there():
    packed = Codebook.of(np.eye(8, dtype=np.float32), "cpu").packed
    assert (packed is not None) == torch.backends.mkldnn.is_available()
    with plain_products():
        assert Codebook.of(np.eye(8, dtype=np.float32), "cpu").packed is None


@pytest.mark.parametrize("table_elements", [cells._TABLE_ELEMENTS, 0])
@pytest.mark.parametrize("products", [nullcontext, any_products])
def test_rows_at_the_limit_visit_whatever_the_rounding(
    device, monkeypatch, table_elements, products
):
    monkeypatch.setattr(cells, "_TABLE_ELEMENTS", table_elements)
    width, n_pairs, half_angle = 1536, 100, np.arccos(0.97) / 2
    rng = np.random.default_rng(0)
    centroids = unit(rng.normal(size=(2 * n_pairs, width))).astype(np.float64)
    home, other = centroids[:n_pairs], centroids[n_pairs:]
    across, along = unit64(home - other), unit64(home + other)
    angle = half_angle - 1e-6  # more than a row is moved by being rounded to float32
    rows = (np.sin(angle) * across + np.cos(angle) * along).astype(np.float32)
    with products(width):
        found = visit_cells(
            rows, centroids.astype(np.float32), min_cosine=0.97, device=device, **EXACT
        )
    assert found.home.tolist() == list(range(n_pairs))
    missed = [i for i in range(n_pairs) if n_pairs + i not in visits_of(found, i)]
    assert not missed


def test_visits_differ_between_devices_by_rounding_only(device):
    rng = np.random.default_rng(0)
    rows, centroids = unit(rng.normal(size=(4000, 64))), unit(rng.normal(size=(200, 64)))
    with plain_products():
        plain = visit_cells(rows, centroids, min_cosine=0.95, **ON_CPU)
    there = visit_cells(rows, centroids, min_cosine=0.95, device=device, **EXACT)
    visits = [
        {(i, cell) for i in range(len(rows)) for cell in visits_of(assignment, i)}
        for assignment in (plain, there)
    ]
    assert len(visits[0] ^ visits[1]) <= len(visits[0]) // 1000


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_what_the_process_allows_of_float32_is_set_aside_and_given_back(device, precision):
    rng = np.random.default_rng(0)
    rows, centroids = unit(rng.normal(size=(500, 64))), unit(rng.normal(size=(50, 64)))
    arguments = {"min_cosine": 0.95, "device": device, **EXACT}
    expected = visit_cells(rows, centroids, **arguments)
    torch.set_float32_matmul_precision(precision)
    try:
        found = visit_cells(rows, centroids, **arguments)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")
    for name in ("home", "cosine", "visit_offsets", "visits"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_no_image_and_one_image(device):
    centroids = degrees(0, 90)
    arguments = {"min_cosine": 0.9, "device": device, **EXACT}
    empty = visit_cells(np.zeros((0, 2), np.float32), centroids, **arguments)
    assert empty.visit_offsets.tolist() == [0]
    assert len(empty.home) == len(empty.visits) == 0
    one = visit_cells(degrees(80), centroids[1:], **arguments)
    assert one.home.tolist() == [0]
    assert one.visit_offsets.tolist() == [0, 0]
    assert len(CellAssignment.concatenate([]).home) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centroids": np.zeros((0, 2), np.float32)}, "no centroid"),
        ({"centroids": np.eye(3, dtype=np.float32)}, "2 wide, centroids 3"),
        ({"min_cosine": 1.5}, "min_cosine"),
        ({"max_visits": -1}, "max_visits"),
        ({"bound_fraction": 0.0}, "bound_fraction"),
        ({"embeddings": np.array([[1, 0], [2, 0]], np.float32)}, "row 1: 2"),
    ],
)
def test_bad_arguments_are_named(change, message):
    good = {"embeddings": degrees(0), "centroids": degrees(0), "min_cosine": 0.9, **ON_CPU}
    with pytest.raises(ValueError, match=message):
        visit_cells(**{**good, **change})
