import pytest

from curator_assets.number_words import counted, number, percent, plural, size


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


def test_sizes_in_words():
    assert [size(n) for n in (0, 999, 1000, 1_234_567)] == ["0 B", "999 B", "1 kB", "1.23 MB"]
    assert size(5 * 10**15) == "5 PB"


def test_a_share_is_never_rounded_to_nothing_or_all():
    assert [percent(share) for share in (0, 0.12345, 1)] == ["0.00 %", "12.35 %", "100.00 %"]
    assert [percent(share) for share in (1e-9, 1 - 1e-9)] == ["< 0.01 %", "> 99.99 %"]


def test_one_is_singular():
    assert [counted(n, "image") for n in (0, 1, 1234)] == ["0 images", "1 image", "1,234 images"]
    assert counted(2, "pair of shards", "pairs of shards") == "2 pairs of shards"
    assert [plural(n, "is", "are") for n in (1, 2)] == ["is", "are"]
