import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator_assets.kernels.cells import CellAssignment, visit_cells

EXACT = {"max_visits": None, "bound_fraction": 1.0, "device": "cpu"}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def degrees(*angles):
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def cos_deg(angle):
    return float(np.cos(np.deg2rad(angle)))


def visits_of(assignment, image):
    start, stop = assignment.visit_offsets[image : image + 2]
    return assignment.visits[start:stop].tolist()


def test_visits_exactly_the_cells_within_half_the_angle():
    centroids = degrees(0, 40, 80)  # boundaries at 20 and 60 degrees
    assignment = visit_cells(
        degrees(0, 14, 16, 24, 26, 61), centroids, min_cosine=cos_deg(10), **EXACT
    )
    assert assignment.home.tolist() == [0, 0, 0, 1, 1, 2]
    assert [visits_of(assignment, i) for i in range(6)] == [[], [], [1], [0], [], [1]]
    assert assignment.cosine[1] == pytest.approx(cos_deg(14), abs=1e-6)


def test_fast_rule_keeps_the_nearest_and_narrows_the_bound():
    centroids = degrees(0, 40, -44)
    image = degrees(1)  # 19 degrees to cell 1, 23 to cell 2
    wide = {"min_cosine": cos_deg(60), "device": "cpu"}
    full = visit_cells(image, centroids, max_visits=None, bound_fraction=1.0, **wide)
    one = visit_cells(image, centroids, max_visits=1, bound_fraction=1.0, **wide)
    none = visit_cells(image, centroids, max_visits=0, bound_fraction=1.0, **wide)
    narrow = visit_cells(image, centroids, max_visits=None, bound_fraction=0.7, **wide)
    assert visits_of(full, 0) == [1, 2]
    assert visits_of(one, 0) == [1]
    assert visits_of(none, 0) == []
    assert visits_of(narrow, 0) == [1]


def test_coincident_centroids_always_visit_each_other():
    centroids = degrees(0, 0, 90)
    nearly = centroids.copy()
    nearly[1] = degrees(1e-4)
    for codebook in (centroids, nearly):
        assignment = visit_cells(degrees(0, 5, 90), codebook, min_cosine=1.0, **EXACT)
        for image in (0, 1):
            assert visits_of(assignment, image) == [1 - assignment.home[image]]
        assert visits_of(assignment, 2) == []
        one = visit_cells(
            degrees(0), codebook, min_cosine=0.9, max_visits=1, bound_fraction=0.5, device="cpu"
        )
        assert visits_of(one, 0) == [1 - one.home[0]]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    width=st.integers(2, 8),
    n_cells=st.integers(1, 20),
    eps=st.floats(0.0, 0.5),
)
def test_every_pair_meets_in_a_cell(seed, width, n_cells, eps):
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(60, width)))
    rows = np.concatenate([rows, unit(rows + rng.normal(size=rows.shape) * eps)])
    assignment = visit_cells(
        rows, unit(rng.normal(size=(n_cells, width))), min_cosine=1 - eps, **EXACT
    )
    seen = np.zeros((len(rows), n_cells), bool)
    seen[np.arange(len(rows)), assignment.home] = True
    seen[np.repeat(np.arange(len(rows)), np.diff(assignment.visit_offsets)), assignment.visits] = 1
    near = np.float32(rows.astype(np.float64) @ rows.T.astype(np.float64)) >= np.float32(1 - eps)
    for x, y in np.argwhere(near):
        assert seen[x, assignment.home[y]] or seen[y, assignment.home[x]]


def test_a_row_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    rows, centroids = unit(rng.normal(size=(5000, 32))), unit(rng.normal(size=(300, 32)))
    rows[[7, 4095, 4096, 4999]] = rows[0]
    arguments = {"min_cosine": 0.95, "max_visits": 3, "bound_fraction": 0.9, "device": "cpu"}
    whole = visit_cells(rows, centroids, **arguments)
    cuts = np.split(rows, [1, 10, 4097])
    parts = CellAssignment.concatenate([visit_cells(p, centroids, **arguments) for p in cuts])
    for name in ("home", "cosine", "visit_offsets", "visits"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    for copy in (7, 4095, 4096, 4999):
        assert whole.home[copy] == whole.home[0]
        assert whole.cosine[copy] == whole.cosine[0]
        assert visits_of(whole, copy) == visits_of(whole, 0)


def test_no_image_and_one_image():
    centroids = degrees(0, 90)
    empty = visit_cells(np.zeros((0, 2), np.float32), centroids, min_cosine=0.9, **EXACT)
    assert empty.visit_offsets.tolist() == [0]
    assert len(empty.home) == len(empty.visits) == 0
    one = visit_cells(degrees(80), centroids[1:], min_cosine=0.9, **EXACT)
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
    good = {"embeddings": degrees(0), "centroids": degrees(0), "min_cosine": 0.9, **EXACT}
    with pytest.raises(ValueError, match=message):
        visit_cells(**{**good, **change})
