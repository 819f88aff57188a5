"""The orders in which images claim to be kept, row by row."""

import tempfile

import numpy as np
import pytest
from resolved import easy_order, hard_order, random_order

from curator_assets.kernels import sorted_runs
from curator_assets.kernels.keep_order import (
    KeepOrder,
    best_keys,
    easy_keys,
    random_keys,
)

NAN, INF = np.nan, np.inf

# columns, pixels -> order
BEST = {
    "largest value": ([[1, 3, 2]], [9, 1, 5], [1, 2, 0]),
    "first column first": ([[1, 2, 1], [3, 0, 4]], [1, 1, 1], [1, 2, 0]),
    "a tie by pixels": ([[1, 1, 1]], [5, 7, 6], [1, 2, 0]),
    "a tie by row": ([[1, 1, 1]], [5, 5, 5], [0, 1, 2]),
    "zeros of both signs are a tie": ([[-0.0, 0.0, -0.0]], [5, 5, 6], [2, 0, 1]),
    "negative values": ([[-2, -0.5, -1]], [1, 1, 1], [1, 2, 0]),
    "NaN is lowest": ([[NAN, -9, 1]], [9, 1, 1], [2, 1, 0]),
    "NaN below -inf": ([[NAN, -INF, INF]], [9, 1, 1], [2, 1, 0]),
    "two NaN by pixels": ([[NAN, NAN, 0]], [1, 2, 0], [2, 1, 0]),
    "a second column splits NaN": ([[NAN, NAN, 0], [1, 2, 0]], [9, 1, 1], [2, 1, 0]),
    "no column": ([], [5, 7, 7], [1, 2, 0]),
    "none": ([[]], [], []),
}


@pytest.mark.parametrize(("columns", "pixels", "order"), BEST.values(), ids=list(BEST))
def test_best_keeps_the_highest_then_the_largest_then_the_first(columns, pixels, order):
    values = [np.array(column, np.float32) for column in columns]
    keys = best_keys(values, np.array(pixels, np.int64), np.arange(len(pixels)))
    assert np.argsort(keys, kind="stable").tolist() == order
    assert len(np.unique(keys)) == len(keys)


def test_best_takes_columns_of_unsigned_pixels_and_of_integers():
    pixels, same = np.array([1, 3, 2], np.uint32), np.zeros(3, np.int32)
    assert np.argsort(best_keys([], pixels, np.arange(3))).tolist() == [1, 2, 0]
    assert np.argsort(best_keys([np.array([1, 0, 2])], same, np.arange(3))).tolist() == [2, 0, 1]


# distance, ids -> easy, hard
BY_DISTANCE = {
    "distinct": ([0.2, 0.1, 0.3], ["a", "b", "c"], [1, 0, 2], [2, 0, 1]),
    "a tie": ([0.2, 0.1, 0.1], ["a", "c", "b"], [2, 1, 0], [0, 1, 2]),
    "all the same": ([0.0, 0.0, 0.0], ["b", "c", "a"], [2, 0, 1], [1, 0, 2]),
    "ids are text": ([0.0, 0.0, 0.0], ["10", "9", "1"], [2, 0, 1], [1, 0, 2]),
    "no centroid, no number": ([NAN, INF, 0.1], ["a", "b", "c"], [2, 1, 0], [0, 1, 2]),
    "letters of many bytes": ([0.0, 0.0, 0.0], ["é", "z", "猫"], [1, 0, 2], [2, 0, 1]),
    "one": ([0.5], ["a"], [0], [0]),
    "none": ([], [], [], []),
}


@pytest.mark.parametrize(
    ("distance", "ids", "easy", "hard"), BY_DISTANCE.values(), ids=list(BY_DISTANCE)
)
def test_easy_keeps_the_nearest_and_hard_is_its_reverse(distance, ids, easy, hard):
    distance = np.array(distance, np.float32)
    assert easy_order(distance, ids).tolist() == easy
    assert hard_order(distance, ids).tolist() == hard


@pytest.mark.parametrize("is_descending", [False, True])
def test_an_order_is_the_same_however_its_keys_come_and_are_cut(monkeypatch, is_descending):
    rng = np.random.default_rng(0)
    ids = ["x" * n + str(k) for k, n in enumerate(rng.integers(12, size=200).tolist())]
    distance = rng.integers(5, size=200) / 4  # many ties
    expected = sorted(range(200), key=lambda row: (distance[row], ids[row]), reverse=is_descending)
    monkeypatch.setattr(sorted_runs, "RUN_BYTES", 500)
    monkeypatch.setattr(sorted_runs, "_N_MARKS", 4)
    rows = KeepOrder(np.dtype(np.uint32), tempfile.TemporaryFile, is_descending=is_descending)
    for start in range(0, 200, 9):
        part = slice(start, start + 9)
        rows.append(np.arange(200)[part], easy_keys(distance[part], ids[part]))
    assert rows.rows().tolist() == expected


IDS = [f"s/{k}" for k in "abcdef"]


@pytest.mark.parametrize("rows", [[5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2], [4, 1, 2]])
def test_random_is_one_order_of_ids_however_the_rows_lie(rows):
    drawn = [IDS[k] for k in random_order(IDS, seed=7)]
    assert sorted(drawn) == IDS
    ids = [IDS[k] for k in rows]
    assert [ids[k] for k in random_order(ids, seed=7)] == [name for name in drawn if name in ids]
    assert len(random_order([], seed=0)) == 0


def test_another_seed_is_another_order_and_a_tie_goes_to_the_first_row():
    orders = {tuple(random_order(IDS, seed=seed).tolist()) for seed in range(5)}
    assert len(orders) == 5
    keys = random_keys(["a", "a"], np.array([2**33 + 1, 2**33]), seed=0)
    assert keys[1] < keys[0]
