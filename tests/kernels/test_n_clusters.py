import pytest

from curator_assets.kernels.n_clusters import choose_n_clusters


@pytest.mark.parametrize(
    ("n_images", "expected"),
    [(0, 1), (1, 1), (50, 1), (500, 10), (1_000_000, 3162), (1_000_000_000, 100_000)],
)
def test_number_of_clusters_follows_the_cost_model(n_images, expected):
    n_clusters = choose_n_clusters(n_images, skew=2.5, visits=4, min_images_per_cluster=50)
    assert n_clusters == expected
