import faiss
import numpy as np
import pytest

from curator_assets.kernels import kmeans
from curator_assets.kernels.kmeans import (
    deduplicate_sample,
    mean_cosine_to_nearest,
    train_centroids,
)


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def on_cpu(monkeypatch):
    """FAISS trains on CPU, whatever the machine has."""
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def trainer(request):
    """Where FAISS trains."""
    if request.param == "cpu":
        request.getfixturevalue("on_cpu")
    elif not faiss.get_num_gpus():
        pytest.skip("FAISS sees no GPU")
    return request.param


def objective(rows, centroids):
    """Mean cosine to the nearest centroid."""
    return (rows @ centroids.T).max(axis=1).mean()


@pytest.mark.usefixtures("trainer")
def test_finds_planted_clusters_and_keeps_unit_norm():
    rng = np.random.default_rng(0)
    planted = np.eye(4, 16, dtype=np.float32)
    rows = unit(np.repeat(planted, 50, axis=0) + rng.normal(size=(200, 16)) * 0.05)
    centroids = train_centroids(rows, n_clusters=4, n_iterations=20, seed=1)
    assert centroids.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1.0, atol=1e-6)
    assert sorted((centroids @ planted.T).argmax(axis=1).tolist()) == [0, 1, 2, 3]


@pytest.mark.usefixtures("on_cpu")
def test_same_seed_same_centroids_other_seed_others(capfd):
    rows = unit(np.random.default_rng(0).normal(size=(500, 8)))
    first = train_centroids(rows, n_clusters=30, n_iterations=5, seed=1)
    again = train_centroids(rows, n_clusters=30, n_iterations=5, seed=1)
    other = train_centroids(rows, n_clusters=30, n_iterations=5, seed=2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("spread_start", [True, False])
def test_a_gpu_trains_centroids_as_good_as_those_of_the_cpu(trainer, monkeypatch, spread_start):
    monkeypatch.setattr(kmeans, "_SPREAD_START_PRODUCTS", 10**12 if spread_start else 0)
    rng = np.random.default_rng(0)
    planted = unit(rng.normal(size=(80, 64)))
    rows = unit(planted[rng.integers(80, size=4000)] + 0.1 * rng.normal(size=(4000, 64)))
    arguments = {"n_clusters": 100, "n_iterations": 10, "seed": 0}
    found = train_centroids(rows, **arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss, "get_num_gpus", lambda: 0)
        on_cpu = train_centroids(rows, **arguments)
    assert found.dtype == np.float32
    assert found.shape == on_cpu.shape == (100, 64)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    # the same start; a row that rounds to another centroid takes the iterations elsewhere
    assert abs(objective(rows, found) - objective(rows, on_cpu)) <= 0.005
    assert objective(rows, found) > objective(rows, rows[:100]) + 0.05


@pytest.mark.usefixtures("trainer")
def test_fewer_distinct_rows_than_clusters():
    rows = np.repeat(np.eye(3, dtype=np.float32), [1, 2, 2], axis=0)
    for n_clusters in (4, 5, 100):
        centroids = train_centroids(rows, n_clusters=n_clusters, n_iterations=5, seed=0)
        np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1.0, atol=1e-6)
        assert len(np.unique(centroids, axis=0)) == len(centroids) <= n_clusters
    identical = np.repeat(rows[:1], 40, axis=0)
    centroids = train_centroids(identical, n_clusters=8, n_iterations=5, seed=0)
    np.testing.assert_allclose(centroids @ rows[0], 1.0, atol=1e-2)
    assert train_centroids(rows[:0], n_clusters=8, n_iterations=5, seed=0).shape == (0, 3)


@pytest.mark.usefixtures("trainer")
def test_opposite_members_leave_no_zero_centroid():
    rows = np.array([[1, 0], [-1, 0]] * 10, np.float32)
    centroids = train_centroids(rows, n_clusters=1, n_iterations=5, seed=0)
    assert np.isfinite(centroids).all()


@pytest.mark.parametrize("change", [{"n_clusters": 0}, {"n_iterations": 0}])
def test_bad_arguments_are_named(change):
    arguments = {"n_clusters": 2, "n_iterations": 2, "seed": 0, **change}
    with pytest.raises(ValueError, match="at least 1, got"):
        train_centroids(np.eye(3, dtype=np.float32), **arguments)


def test_sample_loses_copies_and_near_duplicates_but_no_lone_image():
    rng = np.random.default_rng(0)
    lone = unit(rng.normal(size=(600, 32)))
    near = unit(np.repeat(lone[:5], 200, axis=0) + rng.normal(size=(1000, 32)) * 0.005)
    rows = np.concatenate([lone, near, np.repeat(lone[7:8], 3000, axis=0)])
    kept = deduplicate_sample(rows, min_cosine=0.95, seed=0)
    assert (np.diff(kept) > 0).all()
    assert np.isin(np.arange(5, 600), kept).all()
    assert len(kept) < 600 + 20
    np.testing.assert_array_equal(kept, deduplicate_sample(rows, min_cosine=0.95, seed=0))


def test_sample_of_none_one_and_all_identical():
    row = np.eye(1, 4, dtype=np.float32)
    for n_rows in (0, 1, 5):
        rows = np.repeat(row, n_rows, axis=0)
        kept = deduplicate_sample(rows, min_cosine=0.95, seed=0)
        assert kept.tolist() == [0][:n_rows]


def test_mean_cosine_is_the_same_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    rows, centroids = unit(rng.normal(size=(50, 8))), unit(rng.normal(size=(7, 8)))
    expected = objective(rows, centroids)
    for n_products in (1, 7 * 20, 10**6):
        monkeypatch.setattr(kmeans, "_PRODUCTS_AT_ONCE", n_products)
        assert mean_cosine_to_nearest(rows, centroids) == pytest.approx(expected, abs=1e-6)
