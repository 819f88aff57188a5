import pytest

from curator_assets.report.pictures.axis_ticks import number, scale, tick_labels
from curator_assets.report.pictures.chart_rendering import new_axes


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([1, 10, 100, 1000, 1e4, 1e6, 1e9], ["1", "10", "100", "1,000", "10 k", "1 M", "1 B"]),
        ([0, 5000, 10_000], ["0", "5 k", "10 k"]),
        ([0, 2e8, 1e9], ["0", "200 M", "1 B"]),
        ([0.001, 0.01], ["0.001", "0.01"]),
        ([0.1 + 0.2, 0.4], ["0.3", "0.4"]),
        ([1e9 + 50, 1e9 + 100], ["1,000,000,050", "1,000,000,100"]),
        ([1.7e9 + 100], ["1,700,000,100"]),
        ([-5e-8, 0, 5e-8], ["-5e-8", "0", "5e-8"]),
        ([], []),
    ],
)
def test_labels_are_short_and_tell_values_apart(ticks, labels):
    assert tick_labels(ticks) == labels


def test_a_number_is_rounded_only_where_it_is_large():
    assert [number(n) for n in (0, 1, 1234, 12_345, 9_999_999)] == [
        "0",
        "1",
        "1,234",
        "12.3 k",
        "10 M",
    ]


@pytest.mark.parametrize(
    ("low", "high", "is_log", "ticks"),
    [
        (1, 1e9, True, [1, 100, 1e4, 1e6, 1e8]),
        (1, 100, True, [1, 2, 5, 10, 20, 50, 100]),
        (3, 7, True, [3, 4, 5, 6, 7]),
        (0, 8, False, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (5, 5, True, [3, 4, 5, 6, 7]),
        (0, 0, False, [0]),
    ],
)
def test_ticks_are_the_most_that_fit(low, high, is_log, ticks):
    _, axes = new_axes()
    scale(axes.xaxis, low, high, is_log=is_log, is_whole=True)
    assert axes.get_xticks().tolist() == ticks
