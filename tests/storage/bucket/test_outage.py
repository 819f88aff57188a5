import errno
import logging
import pickle
import random
import threading
from collections.abc import Callable

import pyarrow as pa
import pytest

from curator_assets.errors import UserError
from curator_assets.storage.bucket import interruption, outage
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.bucket.errors import StoreRefusedError
from curator_assets.storage.bucket.outage import MAX_WAIT_SECONDS, PATIENCE_SECONDS, Outage
from curator_assets.storage.bucket.outage import StoreAwayError as AwayError
from curator_assets.storage.retries import GivenUpError
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_table, write_table


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.waits = 1000.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outage, "time", clock)
    monkeypatch.setattr(interruption, "pause", clock.pause)
    return clock


def away(name: str = "s3://bucket/a") -> OSError:
    return OSError(errno.EIO, "connection refused", name)


def failing_until(clock: Clock, until: float) -> Callable[[], str]:
    def call() -> str:
        if clock.now < until:
            raise away()
        return "done"

    return call


@pytest.mark.parametrize("seconds", [0, 1, 60, 110])
def test_a_store_that_is_away_for_a_while_costs_that_and_no_more_than_a_wait(clock, seconds):
    began = clock.now
    assert Outage().asked(failing_until(clock, began + seconds), "reading a") == "done"
    assert seconds <= clock.now - began <= seconds + MAX_WAIT_SECONDS


def test_waits_grow_up_to_a_bound_and_are_not_the_same_for_all(clock):
    random.seed(0)
    with pytest.raises(AwayError):
        Outage().asked(failing_until(clock, 1e9), "reading a")
    first = clock.waits.copy()
    assert first[0] < 0.5 < first[2] < max(first) <= MAX_WAIT_SECONDS
    clock.waits.clear()
    with pytest.raises(AwayError):
        Outage().asked(failing_until(clock, 1e9), "reading a")
    assert clock.waits != first


def test_the_last_try_is_when_the_patience_ends(clock):
    began = clock.now
    with pytest.raises(AwayError, match=r"reading a: connection refused; nothing .* for 120 s"):
        Outage().asked(failing_until(clock, 1e9), "reading a")
    assert clock.now - began == pytest.approx(PATIENCE_SECONDS)


def test_once_it_was_waited_for_in_vain_each_call_is_tried_once_until_one_succeeds(clock):
    store, n_calls = Outage(), 0

    def call() -> None:
        nonlocal n_calls
        n_calls += 1
        raise away()

    with pytest.raises(AwayError):
        store.asked(call, "reading a")
    clock.waits.clear()
    n_calls = 0
    for _ in range(3):
        with pytest.raises(AwayError):
            store.asked(call, "reading b")
    assert n_calls == 3
    assert not clock.waits
    assert store.asked(lambda: "back", "reading c") == "back"
    assert store.asked(failing_until(clock, clock.now + 60), "reading d") == "done"


def test_an_answer_that_is_an_error_is_an_answer(clock):
    store = Outage()
    with pytest.raises(AwayError):
        store.asked(failing_until(clock, 1e9), "reading a")

    def gone() -> None:
        raise FileNotFoundError(errno.ENOENT, "there is no such file", "b")

    with pytest.raises(FileNotFoundError):
        store.asked(gone, "reading b")
    assert store.asked(failing_until(clock, clock.now + 60), "reading d") == "done"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no such file", "a"),
        PermissionError(errno.EACCES, "not allowed", "a"),
        OSError(errno.ENOSPC, "full", "a"),
        OSError(errno.ENOTSUP, "can't", "a"),
        StoreRefusedError("s3://bucket/a: the store refuses"),
    ],
)
def test_what_waiting_does_not_mend_is_raised_at_once(clock, error):
    def call() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        Outage().asked(call, "reading a")
    assert raised.value is error
    assert not clock.waits


def test_one_file_that_can_not_be_had_while_others_can_does_not_mean_that_the_store_is_away(clock):
    store = Outage()

    def broken() -> None:
        store.asked(lambda: None, "reading b")
        raise away()

    with pytest.raises(GivenUpError, match="it was tried for 120 s") as raised:
        store.asked(broken, "reading a")
    assert raised.value.filename == "s3://bucket/a"
    assert store.asked(failing_until(clock, clock.now + 60), "reading c") == "done"


def test_an_outage_is_told_once(clock, caplog):
    store = Outage()

    def both() -> str:
        if clock.now < 1060:
            with pytest.raises(OSError, match="refused"):
                failing_until(clock, 1060)()
            raise away()
        return "done"

    with caplog.at_level(logging.INFO):
        store.asked(both, "reading a")
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]
    assert "reading a: [Errno 5] connection refused" in caplog.text


def test_calls_of_many_threads_wait_for_one_outage_together(monkeypatch, caplog):
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(outage, "FIRST_WAIT_SECONDS", 0.001)
    store, raised = Outage(), list[str]()

    def ask(number: int) -> None:
        def call() -> None:
            raise away()

        try:
            store.asked(call, f"reading {number}")
        except AwayError as error:
            raised.append(str(error))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(text.split()[1].rstrip(":")) for text in raised) == list(range(16))
    assert len(caplog.records) == 1


def test_a_worker_hands_it_on():
    error = AwayError("reading a: it is away")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(error, UserError)
    assert not isinstance(error, OSError)


@pytest.mark.parametrize("n_before", [0, 1])
def test_a_table_of_a_store_that_is_away_is_not_taken_for_a_damaged_one(monkeypatch, n_before):
    store, schema = Store("memory://away"), pa.schema([pa.field("a", pa.binary())])
    rows = pa.table({"a": [random.randbytes(1 << 17)]})
    write_table(store, "t", rows, schema)
    asked, given = Bucket._range, list[int]()

    def is_away(bucket: Bucket, name: str, start: int, stop: int) -> bytes:
        if len(given) == n_before:
            raise AwayError("reading t: the store seems to be away")
        given.append(stop - start)
        return asked(bucket, name, start, stop)

    monkeypatch.setattr(Bucket, "_range", is_away)
    with pytest.raises(AwayError, match="seems to be away"):
        read_table(store, "t")
    monkeypatch.undo()
    assert read_table(store, "t") == rows
