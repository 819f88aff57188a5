"""What is written is hashed on the way, and read again only if that says nothing about it."""

import hashlib
import os
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curator_assets.storage.entries import StoredFile
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import TableWriter, write_table
from curator_assets.storage.versions import stored_files

DATA = bytes(range(256)) * (8 << 10)
SCHEMA = pa.schema([pa.field("n", pa.int64(), nullable=False)])


class CountingStore(Store):
    """A store that counts the files that are read to be hashed."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.hashed = list[str]()

    def hash(self, name: str) -> StoredFile:
        self.hashed.append(name)
        return super().hash(name)


@pytest.fixture(params=["local", "memory"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> CountingStore:
    here = request.param == "local"
    return CountingStore(str(tmp_path) if here else f"memory://written/{tmp_path.name}")


def held(data: bytes) -> StoredFile:
    return StoredFile(len(data), hashlib.sha256(data).hexdigest())


def put(store: Store, name: str, data: bytes) -> None:
    with store.write(name) as file:
        file.write(data)


def test_what_was_written_in_one_go_is_not_read_again(store):
    with store.write("x") as file:
        for start in range(0, len(DATA), 1 << 18):
            file.write(DATA[start : start + (1 << 18)])
    with store.write("y") as file:  # written, read back, and gone on with
        file.write(DATA[:1000])
        file.seek(10)
        assert file.read(5) == DATA[10:15]
        file.seek(0, os.SEEK_END)
        file.write(memoryview(DATA)[1000:])
    assert stored_files(store, ["y", "x"]) == {"y": held(DATA), "x": held(DATA)}
    assert store.hashed == []


def test_what_was_written_out_of_order_is_read(store):
    with store.write("x") as file:
        file.write(DATA)
        file.seek(4)
        file.write(b"other")
    with store.write("y") as file:
        file.write(DATA)
        file.truncate(len(DATA) - 1)
    changed = DATA[:4] + b"other" + DATA[9:]
    assert stored_files(store, ["x", "y"]) == {"x": held(changed), "y": held(DATA[:-1])}
    assert store.hashed == ["x", "y"]


def test_what_was_replaced_since_is_read(store):
    put(store, "x", DATA)
    other = DATA[1:] + DATA[:1]
    put(Store(str(store.root) if store.is_local else f"memory:/{store.root}"), "x", other)
    assert stored_files(store, ["x"]) == {"x": held(other)}
    assert store.hashed == ["x"]
    put(store, "x", DATA)
    store.remove("x")
    with pytest.raises(FileNotFoundError):
        stored_files(store, ["x"])


def test_what_failed_to_be_written_leaves_what_is_known_of_the_file_in_place(store):
    put(store, "x", DATA)
    with pytest.raises(RuntimeError), store.write("x") as file:
        file.write(b"half")
        raise RuntimeError
    assert stored_files(store, ["x"]) == {"x": held(DATA)}


def test_a_local_file_that_was_written_to_in_place_or_read_once_is_known_as_it_is(tmp_path):
    store = CountingStore(str(tmp_path))
    put(store, "x", DATA)
    os.utime(tmp_path / "x", ns=(1, 1))
    for _ in range(2):  # the second time it is known from the first
        assert stored_files(store, ["x"]) == {"x": held(DATA)}
    assert store.hashed == ["x"]


def test_tables_arrays_and_tars_are_written_in_one_go(store):
    table = pa.table({"n": np.random.default_rng(0).integers(0, 1 << 60, 300_000)}, SCHEMA)
    write_table(store, "t", table, SCHEMA)
    with store.write("p") as file, TableWriter(file, "p", SCHEMA) as writer:
        writer.append(table)
    with store.write("a") as file:
        np.save(file, np.arange(300_000))
    with store.write("s") as file, tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("x")
        info.size = len(DATA)
        tar.addfile(info, BytesIO(DATA))
    found = stored_files(store, ["t", "p", "a", "s"])
    assert store.hashed == []
    assert found == {name: store.hash(name) for name in found}
