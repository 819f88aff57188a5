"""The orders in which images claim to be kept, row by row."""

import numpy as np
import pytest

from curator_assets.kernels.duplicates import (
    arrival_order,
    best_order,
    easy_order,
    hard_order,
    random_order,
)

NAN, INF = np.nan, np.inf

# arrival, position -> order
FIRST = {
    "by shard, not by position": ([2, 1, 0], [0, 1, 2], [2, 1, 0]),
    "by position within a shard": ([0, 0, 0], [2, 0, 1], [1, 2, 0]),
    "by shard, then position": ([1, 0, 1, 0], [1, 9, 0, 3], [3, 1, 2, 0]),
    "ranks with gaps": ([40, 7, 40], [1, 3, 0], [1, 2, 0]),
    "one": ([3], [3], [0]),
    "none": ([], [], []),
}


@pytest.mark.parametrize(("arrival", "position", "order"), FIRST.values(), ids=list(FIRST))
def test_first_keeps_what_came_first(arrival, position, order):
    found = arrival_order(np.array(arrival, np.int64), np.array(position, np.int32))
    assert found.tolist() == order


# columns, pixels, arrival, position -> order
BEST = {
    "largest value": ([[1, 3, 2]], [9, 1, 5], [0, 1, 2], [0, 0, 0], [1, 2, 0]),
    "first column first": ([[1, 2, 1], [3, 0, 4]], [1, 1, 1], [0, 0, 0], [0, 1, 2], [1, 2, 0]),
    "a tie by pixels": ([[1, 1, 1]], [5, 7, 6], [0, 1, 2], [0, 0, 0], [1, 2, 0]),
    "a tie by arrival": ([[1, 1, 1]], [5, 5, 5], [2, 0, 1], [0, 1, 2], [1, 2, 0]),
    "a tie by position": ([[1, 1, 1]], [5, 5, 5], [0, 0, 0], [2, 0, 1], [1, 2, 0]),
    "NaN is lowest": ([[NAN, -9, 1]], [9, 1, 1], [0, 1, 2], [0, 0, 0], [2, 1, 0]),
    "NaN below -inf": ([[NAN, -INF, INF]], [9, 1, 1], [0, 1, 2], [0, 0, 0], [2, 1, 0]),
    "two NaN by pixels": ([[NAN, NAN, 0]], [1, 2, 0], [0, 1, 2], [0, 0, 0], [2, 1, 0]),
    "a second column splits NaN": (
        *([[NAN, NAN, 0], [1, 2, 0]], [9, 1, 1], [0, 0, 0], [0, 1, 2]),
        [2, 1, 0],
    ),
    "no column": ([], [5, 7, 7], [0, 2, 1], [0, 0, 0], [2, 1, 0]),
    "none": ([[]], [], [], [], []),
}


@pytest.mark.parametrize(
    ("columns", "pixels", "arrival", "position", "order"), BEST.values(), ids=list(BEST)
)
def test_best_keeps_the_highest_then_the_largest_then_the_first(
    columns, pixels, arrival, position, order
):
    values = [np.array(column, np.float32) for column in columns]
    integers = [np.array(column, np.int64) for column in (pixels, arrival, position)]
    assert best_order(values, *integers).tolist() == order


def test_best_takes_columns_of_unsigned_pixels_and_of_integers():
    pixels = np.array([1, 3, 2], np.uint32)
    same = np.zeros(3, np.int32)
    assert best_order([], pixels, same, same).tolist() == [1, 2, 0]
    assert best_order([np.array([1, 0, 2])], pixels, same, same).tolist() == [2, 0, 1]


# distance, ids -> easy, hard
BY_DISTANCE = {
    "distinct": ([0.2, 0.1, 0.3], ["a", "b", "c"], [1, 0, 2], [2, 0, 1]),
    "a tie": ([0.2, 0.1, 0.1], ["a", "c", "b"], [2, 1, 0], [0, 1, 2]),
    "all the same": ([0.0, 0.0, 0.0], ["b", "c", "a"], [2, 0, 1], [1, 0, 2]),
    "ids are text": ([0.0, 0.0, 0.0], ["10", "9", "1"], [2, 0, 1], [1, 0, 2]),
    "one": ([0.5], ["a"], [0], [0]),
    "none": ([], [], [], []),
}


@pytest.mark.parametrize("dtype", [object, str])
@pytest.mark.parametrize(
    ("distance", "ids", "easy", "hard"), BY_DISTANCE.values(), ids=list(BY_DISTANCE)
)
def test_easy_keeps_the_nearest_and_hard_is_its_reverse(distance, ids, easy, hard, dtype):
    distance, ids = np.array(distance, np.float32), np.array(ids, dtype)
    assert easy_order(distance, ids).tolist() == easy
    assert hard_order(distance, ids).tolist() == hard


IDS = [f"s/{k}" for k in "abcdef"]


@pytest.mark.parametrize("rows", [[5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2], [4, 1, 2]])
def test_random_is_one_order_of_ids_however_the_rows_lie(rows):
    drawn = [IDS[k] for k in random_order(IDS, seed=7)]
    assert sorted(drawn) == IDS
    ids = [IDS[k] for k in rows]
    assert [ids[k] for k in random_order(ids, seed=7)] == [name for name in drawn if name in ids]


def test_another_seed_is_another_order():
    orders = {tuple(random_order(IDS, seed=seed).tolist()) for seed in range(5)}
    assert len(orders) == 5
