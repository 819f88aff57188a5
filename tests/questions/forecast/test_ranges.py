import pytest

from curator_assets.questions.forecast.ranges import Range


def test_bounds_add_and_multiply():
    assert Range(1, 2) + Range(10, 20) == Range(11, 22)
    assert Range(1, 2) * Range(10, 20) == Range(10, 40)
    assert Range.sum([]) == Range(0, 0)
    assert Range.sum([Range(1, 2), Range(3, 4)]) == Range(4, 6)


def test_a_spread_holds_what_was_seen_and_some_more():
    assert Range.spread([10.0], 0.25) == Range(8.0, 12.5)
    assert Range.spread([5.0, 10.0, 30.0], 0.25) == Range(5.0, 30.0)


def test_outliers_of_many_are_passed_over():
    values = [10.0] * 99 + [1000.0]
    assert Range.spread(values, 0.1).high == pytest.approx(11.0)
