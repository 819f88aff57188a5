import numpy as np
import pytest

from curator_assets.kernels.cell_order import chain_of_neighbours


def on_circle(degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_goes_on_to_the_nearest_that_is_left():
    assert chain_of_neighbours(on_circle([0, 50, 10, 30])).tolist() == [0, 2, 3, 1]


def test_neighbouring_cells_get_neighbouring_numbers():
    rng = np.random.default_rng(0)
    place = rng.permutation(40)
    order = chain_of_neighbours(on_circle(2.0 * place))
    parted = np.abs(np.diff(place[order])) > 1
    assert sorted(order.tolist()) == list(range(40))
    assert parted.sum() <= 1  # where one end of the arc is reached


@pytest.mark.parametrize(
    "centroids",
    [
        np.ones((0, 3), np.float32),
        np.ones((1, 3), np.float32),
        np.array([[1], [-1]], np.float32),  # width 1
        np.repeat(np.eye(1, 4, dtype=np.float32), 3, axis=0),
    ],
    ids=["none", "one", "opposite", "identical"],
)
def test_of_what_has_no_order_it_is_kept(centroids):
    assert chain_of_neighbours(centroids).tolist() == list(range(len(centroids)))
