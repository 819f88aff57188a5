import errno
import shutil
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from curator_assets.storage.bucket import spans
from curator_assets.storage.content_index import blocks as blocks_module
from curator_assets.storage.content_index.blocks import Blocks
from curator_assets.storage.store import Store

KIND = np.dtype("<u8")
N_BLOCKS = 10_000
NUMBERS = np.arange(N_BLOCKS, dtype=KIND)


@pytest.fixture
def paid(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, int]]:
    """Requests and bytes that were read since it was asked last; a request is worth 100 bytes."""
    monkeypatch.setattr(blocks_module, "REQUEST_BYTES", 100)
    monkeypatch.setattr(blocks_module, "_AT_ONCE_BYTES", 40_000)
    monkeypatch.setattr(spans, "MAX_GAP_BYTES", 16)
    monkeypatch.setattr(spans, "MAX_SPAN_BYTES", 20_000)
    reads, cat_file = list[int](), MemoryFileSystem.cat_file

    def noted(self, path, start=None, end=None, **options):
        data = cat_file(self, path, start, end, **options)
        reads.append(len(data))
        return data

    monkeypatch.setattr(MemoryFileSystem, "cat_file", noted)

    def since() -> tuple[int, int]:
        found = len(reads), sum(reads)
        reads.clear()
        return found

    return since


@pytest.fixture
def blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Store(f"memory://{tmp_path.name}")
    with store.write("b") as file:
        file.write(NUMBERS.tobytes() + b"what follows")
    return Blocks(store, "b", KIND, N_BLOCKS)


def test_few_blocks_are_read_by_range_and_near_ones_together(blocks, paid):
    wanted = np.array([3, 4, 6, 90, 5000])
    assert blocks.read(wanted).tolist() == wanted.tolist()
    assert paid() == (3, (4 + 1 + 1) * 8)
    assert blocks.read(np.zeros(0, np.int64)).tolist() == []
    assert paid() == (0, 0)


def test_of_many_looks_no_more_is_paid_than_twice_what_fetching_all_would_have_cost(blocks, paid):
    chance, total, fetched_after = np.random.default_rng(0), 0, 0
    all_of_it = 80_000 + 4 * 100
    for look in range(1000):
        wanted = np.unique(chance.integers(0, N_BLOCKS, 20))
        assert blocks.read(wanted).tolist() == wanted.tolist()
        n_requests, n_bytes = paid()
        total += 100 * n_requests + n_bytes
        fetched_after = look if n_requests else fetched_after
    assert all_of_it < total <= 2 * all_of_it + 100
    assert 20 < fetched_after < 60


def test_what_would_cost_as_much_as_all_of_it_fetches_all_at_once(blocks, paid, tmp_path):
    assert blocks.read(np.arange(0, N_BLOCKS, 5)).tolist() == [*range(0, N_BLOCKS, 5)]
    n_requests, n_bytes = paid()
    assert (n_requests, n_bytes) == (4, 80_000)
    assert list(tmp_path.iterdir()) == []  # it has no name, so nothing can be left of it


def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def disk_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def full(self):
        raise OSError(errno.ENOSPC, "no space left on device")
        yield

    monkeypatch.setattr(blocks_module.Scratch, "open", full)


@pytest.mark.parametrize("lacks", [no_room, disk_fills])
def test_without_room_it_goes_on_by_range_and_says_so_once(
    blocks, paid, monkeypatch, caplog, lacks
):
    lacks(monkeypatch)
    wanted = np.arange(0, N_BLOCKS, 5)
    for _ in range(3):
        assert blocks.read(wanted).tolist() == wanted.tolist()
        assert paid()[0] == len(wanted)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "b is read by range: " in record.getMessage()


def test_a_file_that_is_gone_is_an_error(blocks):
    blocks._store.remove("b")
    for wanted in ([1], range(N_BLOCKS)):
        with pytest.raises(FileNotFoundError):
            blocks.read(np.array(wanted))


def test_blocks_of_this_machine_are_mapped(tmp_path):
    store = Store(str(tmp_path))
    with store.write("b") as file:
        file.write(NUMBERS.tobytes() + b"what follows")
    assert Blocks(store, "b", KIND, N_BLOCKS).read(np.array([7, 9_999])).tolist() == [7, 9_999]
