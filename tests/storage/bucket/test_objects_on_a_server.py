"""What the requests of a real server are, and what is left there of what goes wrong."""

import errno
import logging
import tempfile
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from object_server import ObjectServer
from storage_proxy import StorageProxy, storage_proxy
from storage_requests import INTERNAL, Cut, Request

from curator_assets.storage.bucket import upload
from curator_assets.storage.bucket.upload import UploadedFile
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import TableWriter, count_rows, read_table

MIB = 1 << 20
PART = 5 * MIB
"""The least that S3 takes."""


@pytest.fixture(scope="module")
def proxy(object_store: ObjectServer) -> Iterator[StorageProxy]:
    with storage_proxy(object_store.port) as proxy:
        yield proxy


@pytest.fixture
def store(
    object_store: ObjectServer,
    proxy: StorageProxy,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    for name, value in object_store.environment(endpoint=proxy.endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(upload, "UPLOAD_PART_BYTES", PART)
    monkeypatch.setattr("curator_assets.storage.bucket.bucket.UPLOAD_PART_BYTES", PART)
    proxy.requests.clear()
    return Store(f"s3://images/{request.node.name}")


def content(n_bytes: int) -> bytes:
    return np.random.default_rng(n_bytes).bytes(n_bytes)


def write(store: Store, name: str, data: bytes) -> None:
    with store.write(name) as file:
        for at in range(0, len(data), MIB):
            file.write(data[at : at + MIB])


def unfinished(server: ObjectServer, store: Store) -> list[str]:
    prefix = store.root.partition("/")[2]
    return [key for key in server.unfinished_uploads("images") if key.startswith(prefix)]


@pytest.mark.parametrize("n_bytes", [PART, 2 * PART + 7])
def test_a_large_object_is_sent_in_parts(store, proxy, object_store, n_bytes):
    data = content(n_bytes)
    write(store, "large", data)
    counts = proxy.counts()
    assert counts["UploadPart"] == -(-n_bytes // PART)
    assert (counts["CreateMultipartUpload"], counts["CompleteMultipartUpload"]) == (1, 1)
    assert counts["PutObject"] == 0
    assert store.read("large") == data
    assert unfinished(object_store, store) == []


def test_a_small_object_is_one_request(store, proxy):
    write(store, "small", b"x" * 1000)
    assert proxy.counts() == {"PutObject": 1}
    assert store.read("small") == b"x" * 1000


def test_a_part_that_is_lost_has_all_of_it_sent_again(store, proxy, object_store):
    data = content(3 * PART)
    with proxy.failing(INTERNAL, lambda r: r.kind == "UploadPart", times=1) as fault:
        write(store, "large", data)
    assert fault.n_played == 1
    assert store.read("large") == data
    assert unfinished(object_store, store) == []


class Refusing:
    """A guard that agrees to nothing."""

    token, run = 1, "a run"

    def require(self) -> None:
        raise RuntimeError("another has taken over")


def test_what_is_given_up_or_refused_midway_leaves_nothing(store, object_store):
    with pytest.raises(ZeroDivisionError), store.write("given up") as file:
        file.write(content(2 * PART))
        1 / 0  # noqa: B018
    with store.guarded(Refusing()), pytest.raises(RuntimeError, match="taken over"):
        write(store, "refused", content(2 * PART))
    assert store.names("") == []
    assert unfinished(object_store, store) == []


def test_a_full_disk_of_this_machine_is_told_by_its_place(store, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(UploadedFile, "write", full)
    with pytest.raises(OSError, match="No space left") as raised:
        write(store, "a", b"x")
    assert raised.value.filename == tempfile.gettempdir()


def test_a_connection_that_is_cut_has_the_part_read_again(store, proxy, caplog):
    data = content(3 * MIB)
    write(store, "a", data)

    def is_it(request: Request) -> bool:
        return request.kind.startswith("GetObject")

    with proxy.failing(Cut(1000), is_it, times=1) as fault, caplog.at_level(logging.WARNING):
        assert store.read_ranges("a", [(MIB, 2 * MIB)]) == [data[MIB : 2 * MIB]]
    assert fault.n_played == 1


def test_ranges_at_and_beyond_the_end_hold_what_is_there(store):
    write(store, "a", b"0123456789")
    write(store, "empty", b"")
    ranges = [(8, 12), (10, 20), (5, 5), (0, 3), (1_000_000, 1_000_001)]
    assert store.read_ranges("a", ranges) == [b"89", b"", b"", b"012", b""]
    assert store.read("empty") == b""
    with store.open("empty") as file:
        assert file.read() == b""


def test_columns_of_a_table_cost_their_bytes_and_few_requests(store, proxy):
    schema, n_rows = schemas.embeddings(768, "float32"), 10_000
    vectors = np.zeros((n_rows, 768), np.float32)
    vectors[:, :64] = np.random.default_rng(0).standard_normal((n_rows, 64))
    rows = {field.name: pa.nulls(n_rows, field.type) for field in schema if field.nullable}
    for field in schema:
        if pa.types.is_string(field.type):
            rows[field.name] = pa.array([f"{field.name}/{i:09}" for i in range(n_rows)])
        elif not field.nullable:
            rows[field.name] = pa.array(range(n_rows)).cast(field.type)
    flat = pa.array(vectors.reshape(-1))
    rows["embedding"] = pa.FixedSizeListArray.from_arrays(flat, 768)
    with store.write("t") as file, TableWriter(file, "t", schema) as writer:
        writer.append(pa.table(rows))
    size = store.size("t")
    assert size is not None
    assert size > 2_000_000
    columns = ["image_id", "shard", "key", "position", "ext"]
    for read, n_requests, n_bytes in (
        (lambda: read_table(store, "t", columns), 5, 400_000),
        (lambda: count_rows(store, "t"), 2, 66_000),
        (lambda: read_table(store, "t"), 6, size + 70_000),
    ):
        proxy.requests.clear()
        read()
        assert len(proxy.requests) <= n_requests, proxy.counts()
        assert proxy.n_bytes()[1] <= n_bytes


def test_a_small_table_is_one_read(store, proxy):
    schema = pa.schema([pa.field("a", pa.int64())])
    with store.write("t") as file, TableWriter(file, "t", schema) as writer:
        writer.append(pa.table({"a": [1, 2, 3]}))
    proxy.requests.clear()
    assert read_table(store, "t")["a"].to_pylist() == [1, 2, 3]
    assert proxy.counts()["GetObject (range)"] == 1
    assert set(proxy.counts()) <= {"GetObject (range)", "HeadObject"}
