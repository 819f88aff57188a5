from curator_assets.report.numbers.changes import Change, changes


def test_changes_are_numbers_and_settings_that_differ():
    last = {"n": 1, "dropped": {"a": 2, "b": 1}, "settings": {"eps": 0.1, "by": []}, "x": True}
    now = {"n": 3, "dropped": {"a": 2, "c": 4}, "settings": {"eps": 0.2, "by": ["w"]}, "x": False}
    assert changes(last, now) == [
        Change("n", 1, 3),
        Change("dropped.c", None, 4),
        Change("settings.eps", 0.1, 0.2),
        Change("settings.by", "[]", '["w"]'),
        Change("x", True, False),
        Change("dropped.b", 1, None),
    ]
    assert [Change("n", 1, 3).difference, Change("c", None, 4).difference] == [2, None]
    assert changes(last, last) == []
