"""An index finds every row that it was given, and says so where it can't."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from curator_assets.storage import layout
from curator_assets.storage.content_index import index as index_module
from curator_assets.storage.content_index.index import MAX_PLACES, MAX_SEGMENTS, ContentIndex, Keys
from curator_assets.storage.content_index.segment import keys_of, tables_and_rows
from curator_assets.storage.store import Store


@pytest.fixture(params=["local", "bucket"])
def store(request, tmp_path) -> Store:
    return Store(str(tmp_path) if request.param == "local" else f"memory://{tmp_path}")


def hashes_of(table: str, n: int) -> list[str]:
    return [sha256(f"{table} {i}".encode()).hexdigest()[:32] for i in range(n)]


def keys(table: str, content_hashes: list[str]) -> Keys:
    return Keys(table, keys_of(content_hashes), np.arange(len(content_hashes)))


def found(index: ContentIndex, content_hashes: list[str]) -> list[set[tuple[str, int]]]:
    """The table and row of each place that a hash leads to."""
    places = [set() for _ in content_hashes]
    for segment in index.segments:
        which, at = segment.find(keys_of(content_hashes))
        tables, rows = tables_and_rows(at)
        for i, table, row in zip(which, tables, rows, strict=True):
            places[i].add((segment.tables[table], int(row)))
    return places


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 5000])
def test_every_key_leads_to_its_row_and_others_nowhere(store, n):
    there = hashes_of("a", n)
    ContentIndex(store).add([keys("a", there)])
    index = ContentIndex(store)
    assert index.tables == {"a"}
    assert found(index, there) == [{("a", i)} for i in range(n)]
    assert found(index, hashes_of("other", 500)) == [set()] * 500


def test_merged_segments_lead_to_what_each_of_them_led_to(store, monkeypatch):
    monkeypatch.setattr(index_module, "_RECORDS_AT_ONCE", 1000)
    index, all_of_it = ContentIndex(store), {}
    for i in range(30):
        all_of_it[f"t{i}"] = hashes_of(f"t{i}", 40 * (i % 7))
        index.add([keys(f"t{i}", all_of_it[f"t{i}"])])
        index.tidy(all_of_it)
        assert len(index.segments) <= MAX_SEGMENTS
    assert len(store.names(layout.INDEX)) == len(index.segments)
    for reader in (index, ContentIndex(store)):
        for table, there in all_of_it.items():
            assert found(reader, there) == [{(table, row)} for row in range(len(there))]


def test_what_is_gone_is_forgotten(store):
    index = ContentIndex(store)
    tables = {f"t{i}": hashes_of(f"t{i}", 20) for i in range(MAX_SEGMENTS + 1)}
    for table, there in tables.items():
        index.add([keys(table, there)])
    gone = tables.pop("t0"), tables.pop("t5")
    index.tidy(tables)
    assert index.tables == set(tables)
    assert found(index, [*gone[0], *gone[1]]) == [set()] * 40
    index.tidy(())
    assert store.names(layout.INDEX) == []


def test_of_an_image_that_lies_everywhere_a_few_places_are_kept(store):
    one = hashes_of("one", 1)
    index = ContentIndex(store)
    index.add([keys(f"t{i}", one * 300) for i in range(3)])
    places = found(index, one)[0]
    assert len(places) == MAX_PLACES
    assert {table for table, _ in places} <= {"t0", "t1", "t2"}


def test_keys_of_equal_halves_are_all_found(store):
    """Of runs of one key that cross blocks none is missed."""
    many = hashes_of("x", 600)
    index = ContentIndex(store)
    index.add([keys(f"t{i}", many) for i in range(MAX_PLACES)])
    assert found(index, many) == [{(f"t{i}", k) for i in range(MAX_PLACES)} for k in range(600)]


@pytest.mark.parametrize("keep", [0, 10, 4096, 9000, -1, -50])
def test_a_cut_segment_is_none_and_is_removed(tmp_path, keep):
    store, there = Store(str(tmp_path)), hashes_of("a", 600)
    ContentIndex(store).add([keys("a", there)])
    path = next(Path(tmp_path).rglob("*.segment"))
    path.write_bytes(path.read_bytes()[:keep])
    index = ContentIndex(store)
    assert index.tables == set()
    index.tidy({"a"})
    assert not path.exists()


def test_a_changed_byte_costs_its_block_and_shows(tmp_path):
    store, there = Store(str(tmp_path)), hashes_of("a", 5000)
    ContentIndex(store).add([keys("a", there)])
    path = next(Path(tmp_path).rglob("*.segment"))
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for at in rng.integers(0, len(data), 40):
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        index = ContentIndex(store)
        places = found(index, there)
        assert all(p in (set(), {("a", i)}) for i, p in enumerate(places))
        assert sum(not p for p in places) <= 257 or not index.segments
        if index.segments:
            assert index.segments[0].is_damaged
        path.write_bytes(data)


def test_a_damaged_segment_is_not_merged(tmp_path):
    store, index = Store(str(tmp_path)), ContentIndex(Store(str(tmp_path)))
    for i in range(MAX_SEGMENTS + 1):
        index.add([keys(f"t{i}", hashes_of(f"t{i}", 300))])
        if i == 3:
            path = tmp_path / index.segments[-1].name
            path.write_bytes(b"\1" + path.read_bytes()[1:])
    index = ContentIndex(store)
    index.tidy({f"t{i}" for i in range(MAX_SEGMENTS + 1)})
    assert index.tables == {f"t{i}" for i in range(MAX_SEGMENTS + 1) if i != 3}
    assert len(index.segments) <= MAX_SEGMENTS
