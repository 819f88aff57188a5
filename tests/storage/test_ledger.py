import json

import pytest

from curator_assets.storage import layout
from curator_assets.storage.arrivals import read_arrivals, record_arrivals
from curator_assets.storage.ledger import Entry, Ledger, hash_files, hash_of
from curator_assets.storage.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_an_entry_round_trips(store):
    entry = Entry("f", "v", {"a": "1"}, {"x": 1}, {"n": 2}, {"check": {"n": 3}}, {}, {"s": [1]})
    ledger = Ledger(store)
    assert ledger.read("asset", "a/b") is None
    ledger.write("asset", "a/b", entry)
    assert Ledger(store).read("asset", "a/b") == entry
    assert ledger.read("asset", "a/b") == entry
    assert ledger.data_version("asset", "a/b") == "v"
    ledger.remove("asset", "a/b")
    assert ledger.read("asset", "a/b") is None


def test_a_damaged_entry_counts_as_none(store):
    with store.write(layout.ledger("asset", None)) as file:
        file.write(b'{"fingerprint": "f"')
    assert Ledger(store).read("asset") is None
    with store.write(layout.ledger("asset", None)) as file:
        file.write(json.dumps({"of another": "version"}).encode() + b"\n{}\n")
    assert Ledger(store).read("asset") is None


def test_reading_an_entry_leaves_its_metadata_alone(store):
    name = layout.ledger("asset", None)
    Ledger(store).write("asset", None, Entry("f", "v", metadata={"pictures": "x" * 40_000}))
    with store.open(name) as file:
        first = file.readline()
    assert len(first) < 200
    with store.write(name) as file:
        file.write(first + b'{"pictures": "x')
    entry = Ledger(store).read("asset")
    assert entry.data_version == "v"
    with pytest.raises(ValueError, match=f"{name} is damaged .*; delete the file"):
        dict(entry.metadata)


def test_missing_files_are_those_that_are_gone_or_of_another_size(store):
    ledger = Ledger(store)
    for name in "xy":
        with store.write(name) as file:
            file.write(b"1234")
    version, files = hash_files(store, ["x", "y"])
    entry = Entry("f", version, files=files)
    assert files == {"x": 4, "y": 4}
    assert ledger.missing_files(entry) == []
    store.remove("x")
    with store.write("y") as file:
        file.write(b"12345")
    assert ledger.missing_files(entry) == ["x", "y"]


def test_hash_ignores_the_order_of_keys_only():
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1})
    assert hash_of([1, 2]) != hash_of([2, 1])
    assert hash_of("a", "b") != hash_of("ab")


def test_arrivals_are_in_name_order_within_a_drop_and_never_change(store):
    assert read_arrivals(store) == {}
    assert record_arrivals(store, ["b", "a"]) == {"a": 0, "b": 1}
    assert record_arrivals(store, ["b", "0"]) == {"a": 0, "b": 1, "0": 2}
    assert read_arrivals(store) == {"a": 0, "b": 1, "0": 2}
