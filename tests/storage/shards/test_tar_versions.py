import os

import pytest
from tar_files import write_members

from curator_assets.storage import layout
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_versions import known_version, read_version, record_version
from curator_assets.storage.shards.tars import BrokenTarError
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_table

ASSET = "tars"


@pytest.fixture
def tars(tmp_path):
    write_members(tmp_path / "tars" / "a.tar", [("0.jpg", b"0"), ("0.txt", b"c"), ("1.jpg", b"1")])
    return Source(str(tmp_path / "tars"))


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "out"))


def test_reading_changes_nothing(tars, store):
    version, content = read_version(Ledger(store), ASSET, tars, "a")
    assert version == content.fingerprint
    assert [place.position for place in content.images] == [0, 1]
    assert store.names("") == []


def test_what_was_recorded_is_not_read_again(tars, store, tmp_path, monkeypatch):
    signature = tars.signature("a")
    assert known_version(Ledger(store), ASSET, "a", signature) is None
    version, content = read_version(Ledger(store), ASSET, tars, "a")
    record_version(store, Ledger(store), ASSET, "a", signature, content)
    assert read_table(store, layout.tar_index("a"))["position"].to_pylist() == [0, 1]
    assert known_version(Ledger(store), ASSET, "a", signature) == version
    assert known_version(Ledger(store), "another asset", "a", signature) is None
    monkeypatch.delattr(Source, "open")
    assert read_version(Ledger(store), ASSET, tars, "a") == (version, None)


def test_a_touched_tar_is_read_again_and_has_the_version_that_it_had(tars, store, tmp_path):
    signature = tars.signature("a")
    version, content = read_version(Ledger(store), ASSET, tars, "a")
    record_version(store, Ledger(store), ASSET, "a", signature, content)
    os.utime(tmp_path / "tars" / "a.tar", (1, 1))
    again, content = read_version(Ledger(store), ASSET, tars, "a")
    assert again == version
    assert content is not None


def test_a_tar_whose_index_is_gone_is_read_again(tars, store):
    signature = tars.signature("a")
    _, content = read_version(Ledger(store), ASSET, tars, "a")
    record_version(store, Ledger(store), ASSET, "a", signature, content)
    store.remove(layout.tar_index("a"))
    assert read_version(Ledger(store), ASSET, tars, "a")[1] is not None


def test_a_broken_tar_and_a_missing_one_are_errors(tars, store, tmp_path):
    (tmp_path / "tars" / "cut.tar").write_bytes(b"x" * 512)
    with pytest.raises(BrokenTarError):
        read_version(Ledger(store), ASSET, tars, "cut")
    with pytest.raises(FileNotFoundError):
        read_version(Ledger(store), ASSET, tars, "gone")
