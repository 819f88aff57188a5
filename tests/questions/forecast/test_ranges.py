from curator_assets.questions.forecast.ranges import Range


def test_bounds_add_and_multiply():
    assert Range(1, 2) + Range(10, 20) == Range(11, 22)
    assert Range(1, 2) * Range(10, 20) == Range(10, 40)
    assert Range.sum([]) == Range(0, 0)
    assert Range.sum([Range(1, 2), Range(3, 4)]) == Range(4, 6)


def test_what_is_likely_goes_with_the_bounds():
    assert Range(0, 10).expected == 5
    likely = Range(0, 10, likely=10)
    assert (likely + Range.of(1)).expected == 11
    assert (likely * Range(2, 4)).expected == 30
    assert Range.sum([likely, Range(0, 10)]).expected == 15


def test_a_spread_holds_what_was_seen_and_some_more():
    assert Range.spread([10.0], 0.25) == Range(8.0, 12.5)
    found = Range.spread([5.0, 10.0, 30.0], 0.25)
    assert found == Range(5.0, 30.0)
    assert found.expected == 10.0
