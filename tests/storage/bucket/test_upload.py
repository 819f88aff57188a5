import os
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

import numpy as np
import pytest

from curator_assets.storage.bucket import upload
from curator_assets.storage.bucket.upload import Upload, UploadedFile

PART = 100


class Remote:
    """A file of a store that shows an object once it is closed, as fsspec's do."""

    def __init__(self, shown: list[bytes]) -> None:
        self.shown, self.parts, self.discarded, self.closed = shown, list[bytes](), 0, False
        self.fails_at = -1

    def write(self, data: bytes) -> None:
        if len(self.parts) == self.fails_at:
            raise OSError("the connection was lost")
        self.parts.append(data)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.shown.append(b"".join(self.parts))

    def discard(self) -> None:
        self.discarded += 1


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "UPLOAD_PART_BYTES", PART)


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def nothing() -> None:
    """What is asked before an object appears, and agrees."""


@pytest.mark.parametrize("n_bytes", [PART, PART + 1, 3 * PART - 1, 3 * PART, 7 * PART + 3])
@pytest.mark.parametrize("at_once", [1, 30, PART, 250, 10_000])
def test_parts_are_sent_while_it_is_written_and_the_rest_at_its_end(file, n_bytes, at_once):
    shown = list[bytes]()
    remote, data = Remote(shown), np.random.default_rng(n_bytes).bytes(n_bytes)
    sending = Upload(file, lambda: remote)
    written = UploadedFile(file, sending)
    for at in range(0, n_bytes, at_once):
        written.write(data[at : at + at_once])
    assert shown == []
    asked = list[bool]()
    assert sending.finish(n_bytes, lambda: asked.append(shown == []))
    sending.close()
    assert asked == [True]
    assert shown == [data]
    whole, rest = divmod(n_bytes, PART)
    assert [len(part) for part in remote.parts] == [PART] * whole + [rest]
    assert remote.discarded == 0


def test_less_than_a_part_is_not_begun(file):
    sending = Upload(file, lambda: pytest.fail("it was begun"))
    UploadedFile(file, sending).write(bytes(PART - 1))
    assert not sending.finish(PART - 1, lambda: pytest.fail("it appears"))
    sending.close()


def test_what_is_read_back_and_appended_to_is_sent_as_it_is(file):
    shown = list[bytes]()
    sending = Upload(file, lambda: Remote(shown))
    written = UploadedFile(file, sending)
    written.write(b"a" * 150)
    written.seek(20)
    assert written.read(100) == b"a" * 100
    written.seek(0, os.SEEK_END)
    written.write(b"b" * 150)
    assert sending.finish(300, nothing)
    sending.close()
    assert shown == [b"a" * 150 + b"b" * 150]
    assert written.stored() is not None


def test_once_something_else_was_written_over_it_nothing_more_is_sent(file):
    shown = list[bytes]()
    remote = Remote(shown)
    sending = Upload(file, lambda: remote)
    written = UploadedFile(file, sending)
    written.write(b"a" * 150)
    written.seek(0)
    written.write(b"b")
    written.seek(0, os.SEEK_END)
    written.write(b"c" * 500)
    assert written.stored() is None
    sending.close()
    assert len(remote.parts) == 1
    assert shown == []
    assert remote.discarded == 1


@pytest.mark.parametrize("fails_at", [0, 1, 4, 5])
def test_a_part_that_can_not_be_sent_is_told_at_the_end_and_nothing_appears(file, fails_at):
    shown = list[bytes]()
    remote = Remote(shown)
    remote.fails_at = fails_at
    sending = Upload(file, lambda: remote)
    written = UploadedFile(file, sending)
    for _ in range(5):
        written.write(bytes(PART))
    written.write(bytes(20))
    try:
        is_sent = sending.finish(520, lambda: pytest.fail("it appears"))
    except OSError:
        is_sent = False
    assert not is_sent
    sending.close()
    assert remote.discarded == 1
    remote.close()  # as the garbage collector has it done
    assert shown == []


def test_what_raises_before_it_appears_keeps_it_from_appearing(file):
    shown = list[bytes]()
    remote = Remote(shown)

    def refuse() -> None:
        raise RuntimeError("another has taken over")

    sending = Upload(file, lambda: remote)
    UploadedFile(file, sending).write(bytes(250))
    with pytest.raises(RuntimeError, match="taken over"):
        sending.finish(250, refuse)
    sending.close()
    assert remote.discarded == 1
    remote.close()  # as the garbage collector has it done
    assert shown == []


def test_a_store_that_can_not_be_reached_is_told_at_the_end(file):
    def open_remote() -> Remote:
        raise OSError("no connection")

    sending = Upload(file, open_remote)
    UploadedFile(file, sending).write(bytes(750))
    assert not sending.finish(750, nothing)
    sending.close()


def test_a_slow_store_slows_the_writer_down(file):
    shown, gate = list[bytes](), threading.Event()

    class Slow(Remote):
        def write(self, data: bytes) -> None:
            assert gate.wait(10)
            super().write(data)

    remote = Slow(shown)
    sending = Upload(file, lambda: remote)
    written = UploadedFile(file, sending)
    n_written = list[int]()

    def write() -> None:
        for _ in range(10):
            n_written.append(written.write(bytes(PART)))

    writing = threading.Thread(target=write)
    writing.start()
    writing.join(0.2)
    assert writing.is_alive()
    assert len(n_written) <= 2
    gate.set()
    writing.join(10)
    assert sending.finish(10 * PART, nothing)
    sending.close()
    assert shown == [bytes(10 * PART)]
