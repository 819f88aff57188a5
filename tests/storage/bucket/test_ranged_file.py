import io
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from curator_assets.storage.bucket import ranged_file
from curator_assets.storage.bucket.ranged_file import N_PARTS_AHEAD, RangedFile, ReadAheadFile

PART = 100


class Stored:
    """Bytes that are given in ranges, each of which is noted."""

    def __init__(self, n_bytes: int) -> None:
        self.data = np.random.default_rng(n_bytes).bytes(n_bytes)
        self.asked = list[tuple[int, int]]()
        self.failing = dict[int, int]()
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        assert 0 <= start < stop <= len(self.data)
        assert self.gate.wait(10)
        if self.failing.get(start, 0):
            self.failing[start] -= 1
            raise OSError(f"lost at {start}")
        return self.data[start:stop]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged_file, "PART_BYTES", PART)


@contextmanager
def opened(stored: Stored, kind: str) -> Iterator[RangedFile]:
    n_bytes = len(stored.data)
    made = {
        "ranged": lambda: RangedFile(stored.fetch, n_bytes),
        "tail": lambda: RangedFile(stored.fetch, n_bytes, 150),
        "ahead": lambda: ReadAheadFile(stored.fetch, n_bytes),
    }
    with made[kind]() as file:
        yield file


@pytest.mark.parametrize("kind", ["ranged", "tail", "ahead"])
@pytest.mark.parametrize("n_bytes", [0, 1, PART - 1, PART, PART + 1, 12 * PART, 12 * PART + 7])
def test_it_reads_like_a_file_in_memory(kind, n_bytes):
    stored, chance = Stored(n_bytes), random.Random(n_bytes)
    expected = io.BytesIO(stored.data)
    with opened(stored, kind) as file:
        for _ in range(300):
            where, size = chance.randrange(-3, n_bytes + 20), chance.randrange(3 * PART)
            match chance.randrange(6):
                case 0:
                    assert file.seek(max(0, where)) == expected.seek(max(0, where))
                case 1:
                    at = max(where - n_bytes, -n_bytes)
                    assert file.seek(at, io.SEEK_END) == expected.seek(at, io.SEEK_END)
                case 2 if expected.tell() + where - 10 >= 0:
                    assert file.seek(where - 10, io.SEEK_CUR) == expected.seek(where - 10, 1)
                case 3:
                    assert file.read(size) == expected.read(size)
                case 4:
                    into, other = bytearray(size), bytearray(size)
                    assert file.readinto(into) == expected.readinto(other)
                    assert into == other
                case 5 if chance.randrange(10) == 0:
                    assert file.read() == expected.read()
            assert file.tell() == expected.tell()


@pytest.mark.parametrize("kind", ["ranged", "ahead"])
def test_it_can_not_stand_before_its_begin(kind):
    with opened(Stored(5), kind) as file, pytest.raises(ValueError, match="-1"):
        file.seek(-1)


def test_only_what_is_asked_for_is_fetched():
    stored = Stored(1000)
    with opened(stored, "ranged") as file:
        file.seek(10)
        file.read(20)
        file.read(0)
        file.seek(0, io.SEEK_END)
        assert file.read(5) == b""
    assert stored.asked == [(10, 30)]


def test_the_end_is_fetched_once_whoever_asks_for_parts_of_it():
    stored = Stored(1000)
    with opened(stored, "tail") as file:
        for at in (992, 900, 850):
            file.seek(at)
            assert file.read(8) == stored.data[at : at + 8]
        file.seek(0)
        assert file.read() == stored.data
    assert stored.asked == [(850, 1000), (0, 1000)]


def test_a_small_file_is_one_request():
    stored = Stored(140)
    with opened(stored, "tail") as file:
        file.seek(-8, io.SEEK_END)
        file.read()
        file.seek(3)
        file.read(50)
    assert stored.asked == [(0, 140)]


def test_parts_are_asked_for_before_they_are_needed_and_each_once():
    stored = Stored(10 * PART + 1)
    with opened(stored, "ahead") as file:
        stored.gate.clear()
        first = threading.Thread(target=file.read, args=(1,))
        first.start()
        while len(stored.asked) < N_PARTS_AHEAD:  # as many as there are threads
            threading.Event().wait(0.001)
        assert first.is_alive()
        stored.gate.set()
        first.join()
        file.seek(0)
        while file.read(7):
            pass
    expected = [(at, min(at + PART, len(stored.data))) for at in range(0, 10 * PART + 1, PART)]
    assert sorted(stored.asked) == expected


def test_few_parts_are_held_wherever_it_is_read():
    stored, chance = Stored(100 * PART), random.Random(0)
    with ReadAheadFile(stored.fetch, len(stored.data)) as file:
        for _ in range(200):
            file.seek(chance.randrange(len(stored.data)))
            file.read(PART)
            assert len(file._parts) <= N_PARTS_AHEAD + 3


def test_a_part_that_fails_is_asked_for_again_by_the_next_look():
    stored = Stored(4 * PART)
    stored.failing = {2 * PART: 1}
    with opened(stored, "ahead") as file:
        assert file.read(2 * PART) == stored.data[: 2 * PART]
        with pytest.raises(OSError, match="lost at 200"):
            file.read(1)
        file.seek(2 * PART)
        assert file.read() == stored.data[2 * PART :]


def test_closing_does_not_wait_for_what_is_on_its_way_and_asks_for_nothing_more():
    stored = Stored(100 * PART)
    with opened(stored, "ahead") as file:
        file.read(1)
        stored.gate.clear()
        file.seek(50 * PART)
        looking = threading.Thread(target=lambda: file._part(50).hex(), daemon=True)
        looking.start()
        while (50 * PART, 51 * PART) not in stored.asked or 54 not in file._parts:
            threading.Event().wait(0.001)
    n_asked = len(stored.asked)
    assert file.closed
    stored.gate.set()
    looking.join(10)
    assert not looking.is_alive()
    assert len(stored.asked) == n_asked
