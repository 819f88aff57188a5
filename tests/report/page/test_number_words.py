import pytest

from curator_assets.report.page.number_words import number, percent, size


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (2000.0, "2,000"),
        (1234.5678, "1,234.57"),
        (0.123456, "0.1235"),
        ("as it is", "as it is"),
    ],
)
def test_any_value_in_words(value, words):
    assert number(value) == words


def test_shares_and_sizes_in_words():
    assert percent(0.12345) == "12.35 %"
    assert [size(n) for n in (0, 999, 1000, 1_234_567)] == ["0 B", "999 B", "1 kB", "1.23 MB"]
    assert size(5 * 10**15) == "5 PB"
