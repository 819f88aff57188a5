import random

import pytest

from curator_assets.storage.bucket import spans
from curator_assets.storage.bucket.spans import merged, parts_of


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MAX_GAP_BYTES", 10)
    monkeypatch.setattr(spans, "MAX_SPAN_BYTES", 100)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([], []),
        ([(5, 5)], []),
        ([(5, 9)], [(5, 9)]),
        ([(30, 40), (5, 20)], [(5, 40)]),  # in any order, with what lies between
        ([(5, 20), (31, 40)], [(5, 20), (31, 40)]),
        ([(5, 20), (7, 9), (5, 20)], [(5, 20)]),
        ([(0, 250)], [(0, 100), (100, 200), (200, 250)]),
        ([(0, 60), (65, 130)], [(0, 100), (100, 130)]),
        ([(0, None)], [(0, None)]),
        ([(4, 9), (5, None)], [(4, None)]),
    ],
)
def test_near_ranges_are_read_together_and_large_ones_in_parts(ranges, expected):
    assert merged(ranges) == expected


@pytest.mark.parametrize("seed", range(20))
def test_each_range_gets_its_bytes(seed):
    chance = random.Random(seed)
    data = chance.randbytes(1000)
    ranges = [
        (start, start + chance.choice([0, 1, 8, 60, 300]))
        for start in chance.choices(range(1100), k=30)
    ]
    if seed % 4 == 0:
        ranges.append((chance.randrange(1000), None))
    asked = merged(ranges)
    found = parts_of(ranges, asked, [data[start:stop] for start, stop in asked])
    assert found == [data[start:stop] for start, stop in ranges]
    whole = [stop - start for start, stop in asked if stop is not None]
    assert max(whole, default=0) <= 100
    assert min(whole, default=1) > 0
