import threading
import time
from collections.abc import Iterator

import pytest

from curator_assets.kernels.ahead import ahead, begun_ahead, merged


def n_threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(ahead(range(100), 3, "counting")) == list(range(100))
    assert n_threads("counting") == 0


def test_no_more_than_the_depth_is_produced_before_it_is_asked_for() -> None:
    produced = []

    def items() -> Iterator[int]:
        for i in range(100):
            produced.append(i)
            yield i

    taken = ahead(items(), 3, "counting")
    assert next(taken) == 0
    while len(produced) < 1 + 3:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(produced) == 1 + 3
    taken.close()


def test_each_of_several_threads_is_ahead_by_itself() -> None:
    """One that takes long to give its first does not hold up the other."""
    is_let = threading.Event()

    def slow() -> Iterator[str]:
        is_let.wait(20)
        yield "slow"

    taken = merged([slow(), iter("abcde")], 1, "merging")
    assert [next(taken) for _ in range(5)] == list("abcde")
    is_let.set()
    assert list(taken) == ["slow"]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("gone")

    taken, got = ahead(items(), 1, "failing"), []
    with pytest.raises(OSError, match="gone"):
        got.extend(taken)
    assert got == [1, 2]
    assert n_threads("failing") == 0


def test_closing_closes_what_is_read_from_and_ends_the_thread() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    chained = ahead(ahead(items(), 1, "inner"), 1, "outer")
    assert next(chained) == 0
    chained.close()
    assert closed.is_set()
    assert n_threads("inner") == n_threads("outer") == 0


@pytest.mark.parametrize("depth", [1, 2])
def test_work_is_begun_ahead_of_what_is_asked_for(depth: int) -> None:
    begun: list[int] = []

    def begin(item: int) -> int:
        begun.append(item)
        return item * 10

    seen = []
    for item, result in begun_ahead(range(5), begin, depth):
        assert result == item * 10
        seen.append((item, len(begun)))
    assert seen == [(i, min(i + depth + 1, 5)) for i in range(5)]


def test_nothing_to_begin_gives_nothing() -> None:
    assert list(begun_ahead([], lambda item: item, 1)) == []
