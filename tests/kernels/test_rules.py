import numpy as np
import pytest

from curator_assets.kernels.rules import first_broken_rule

NAN, INF = np.nan, np.inf

# values, min, max -> which are broken
ONE_RULE = {
    "min is inclusive": ([0.9, 1.0, 1.1], 1.0, None, [True, False, False]),
    "max is inclusive": ([0.9, 1.0, 1.1], None, 1.0, [False, False, True]),
    "both": ([0.9, 1.0, 1.5, 2.0, 2.1], 1.0, 2.0, [True, False, False, False, True]),
    "one value alone": ([0.9, 1.0, 1.1], 1.0, 1.0, [True, False, True]),
    "a bound of zero is a bound": ([-0.1, 0.0, 0.1], 0.0, None, [True, False, False]),
    "infinities, min": ([-INF, INF], -1e30, None, [True, False]),
    "infinities, max": ([-INF, INF], None, 1e30, [False, True]),
    "an infinite bound": ([-INF, 0.0, INF], INF, None, [True, True, False]),
    "no bound": ([-INF, 0.0, INF], None, None, [False, False, False]),
    "no rows": ([], 1.0, 2.0, []),
}


@pytest.mark.parametrize(("values", "low", "high", "broken"), ONE_RULE.values(), ids=list(ONE_RULE))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_rule_is_broken_outside_its_bounds(values, low, high, broken, dtype):
    found = first_broken_rule([np.array(values, dtype)], [low], [high])
    assert found.dtype == np.int64
    assert found.tolist() == [0 if is_broken else 1 for is_broken in broken]


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (None, 0.0), (-INF, INF), (None, None)])
def test_nan_breaks_any_rule(low, high):
    assert first_broken_rule([np.array([NAN, 0.0])], [low], [high]).tolist() == [0, 1]


def test_of_several_rules_the_first_that_is_broken_counts():
    columns = [
        np.array([5.0, 1.0, 5.0, 1.0, 5.0, NAN]),
        np.array([5.0, 5.0, 9.0, 9.0, NAN, 9.0]),
        np.array([5.0, 5.0, 5.0, NAN, NAN, 5.0]),
    ]
    found = first_broken_rule(columns, [2.0, None, 2.0], [None, 8.0, 8.0])
    assert found.tolist() == [3, 0, 1, 0, 1, 0]
    found = first_broken_rule(columns[::-1], [2.0, None, 2.0], [8.0, 8.0, None])
    assert found.tolist() == [3, 2, 1, 0, 0, 1]


def test_two_rules_may_be_on_one_column():
    column = np.array([0.0, 1.0, 2.0, 3.0])
    assert first_broken_rule([column, column], [1.0, None], [None, 2.0]).tolist() == [0, 2, 2, 1]


def test_without_rules_there_is_nothing_to_number():
    assert first_broken_rule([], [], []).tolist() == []


@pytest.mark.parametrize(("low", "high"), [([], [None]), ([None], []), ([None] * 2, [None] * 2)])
def test_a_bound_too_many_or_too_few_is_refused(low, high):
    with pytest.raises(ValueError, match="zip"):
        first_broken_rule([np.array([1.0])], low, high)
