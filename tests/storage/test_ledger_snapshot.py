"""A snapshot is never told from the entries' files, but by how many of them are opened."""

import os
import random
import time
from pathlib import Path

import pytest
from storage.conftest import put

from curator_assets.storage import layout, ledger, ledger_snapshot
from curator_assets.storage.entries import StoredFile, encoded, readable
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.ledger_snapshot import write_snapshot
from curator_assets.storage.store import Store

SNAPSHOT = layout.ledger_snapshot("asset")
PARTITIONS = ["a", "a.7", "a/b", "b", "odd \udcff\n"]


@pytest.fixture(autouse=True)
def _all_are_settled(monkeypatch):
    monkeypatch.setattr(ledger_snapshot, "SETTLED_SECONDS", -1.0)


def entry(number: int) -> Entry:
    """One of a length of its own, so that its file has another mark than those before it."""
    files = {"x": StoredFile(number, "aa")}
    return Entry("f", "v" * (1 + number), inputs={"a": None}, files=files, reported=files)


def as_they_lie(store: Store) -> dict[str, Entry]:
    """The entries by the files alone: of each partition that of the highest token."""
    newest = dict[str, tuple[int, str]]()
    for name in store.names("ledger/asset"):
        if parts := layout.ledger_parts("asset", name):
            partition, token = parts
            newest[partition] = max(newest.get(partition, (-1, "")), (token, name))
    found = {partition: readable(store.read(name)) for partition, (_, name) in newest.items()}
    return {partition: one for partition, one in found.items() if one is not None}


def opened(store: Store, monkeypatch) -> list[str]:
    """The entries that a new ledger opens one by one to read all."""
    names, read_each = list[str](), Store.read_each

    def counted(self, wanted):
        names.extend(wanted)
        return read_each(self, names[-len(wanted) :] if wanted else [])

    with monkeypatch.context() as patched:
        patched.setattr(Store, "read_each", counted)
        assert Ledger(store).read_all("asset") == as_they_lie(store)
    return sorted(names)


def test_only_what_is_newer_than_the_snapshot_is_opened(store, monkeypatch):
    for i, partition in enumerate(PARTITIONS):
        put(store, layout.ledger("asset", partition, 3), encoded(entry(i)))
    assert len(opened(store, monkeypatch)) == len(PARTITIONS)
    write_snapshot(store, "asset")
    assert opened(store, monkeypatch) == []
    changed = layout.ledger("asset", "a", 3), layout.ledger("asset", "b", 4)
    for i, name in enumerate(changed):
        put(store, name, encoded(entry(10 + i)))
    store.remove(layout.ledger("asset", "a/b", 3))
    assert opened(store, monkeypatch) == [*changed]
    write_snapshot(store, "asset")
    assert opened(store, monkeypatch) == []
    assert list(Ledger(store).read_all("asset")["odd \udcff\n"].reported) == ["x"]


def test_a_snapshot_of_entries_of_other_fields_counts_for_nothing(store, monkeypatch):
    put(store, name := layout.ledger("asset", "a", 3), encoded(entry(1)))
    write_snapshot(store, "asset")
    monkeypatch.setattr(ledger_snapshot, "ENTRY_FIELDS", ("fingerprint",))
    assert opened(store, monkeypatch) == [name]


def test_another_mount_costs_nothing(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    put(store, layout.ledger("asset", "a", 3), encoded(entry(1)))
    write_snapshot(store, "asset")
    marks = Store.marks

    def mounted_anew(self, folder):
        return {name: mark._replace(device=77) for name, mark in marks(self, folder).items()}

    monkeypatch.setattr(Store, "marks", mounted_anew)
    assert opened(store, monkeypatch) == []


CHANGES = {
    "its bytes": lambda path: path.write_bytes(path.read_bytes().replace(b"v", b"w")),
    "its end": lambda path: path.write_bytes(path.read_bytes()[:-2]),
    "nothing of it": os.utime,
    "all of it": lambda path: path.write_bytes(b""),
    "it is gone": os.unlink,
    "another's place": lambda path: path.rename(path.with_name("c.7.entry")),
    "another's content": lambda path: path.write_bytes(path.with_name("b.7.entry").read_bytes()),
    "another's file": lambda path: path.with_name("b.7.entry").rename(path),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_changed_by_hand_is_seen_though_its_time_is_put_back(tmp_path, change):
    store = Store(str(tmp_path))
    for i, partition in enumerate(("a", "b")):
        put(store, layout.ledger("asset", partition, 7), encoded(entry(i)))
    path = tmp_path / layout.ledger("asset", "a", 7)
    before = path.stat()
    time.sleep(0.02)  # a filesystem's times advance in steps
    write_snapshot(store, "asset")
    change(path)
    if path.exists():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Ledger(store).read_all("asset") == as_they_lie(store)


DAMAGED = {
    "empty": lambda _: b"",
    "cut": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "a byte": lambda data: data.replace(b"vvv", b"vwv", 1),
    "two names": lambda data: data.replace(b"ledger/asset/b", b"ledger/asset/a", 1),
    "longer": lambda data: data + b"0",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_snapshot_is_none(store, monkeypatch, damage):
    for i, partition in enumerate(("a", "b")):
        put(store, layout.ledger("asset", partition, 7), encoded(entry(3 + i)))
    write_snapshot(store, "asset")
    put(store, SNAPSHOT, damage(store.read(SNAPSHOT)))
    assert len(opened(store, monkeypatch)) == 2
    write_snapshot(store, "asset")
    assert opened(store, monkeypatch) == []


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_a_ledger_tells_what_the_files_tell(store, seed):
    """Holders of rising tokens, late writers, removals, damage; snapshots old, damaged and gone."""
    chance, token = random.Random(seed), 1
    snapshots = list[bytes]()
    for number in range(60):
        partition = chance.choice(PARTITIONS)
        name = layout.ledger("asset", partition, max(1, token - chance.choice([0, 0, 0, 1, 2])))
        match chance.choice(["write", "write", "holder", "remove", "damage", "keep", "snapshot"]):
            case "write":  # also by one that was taken over from
                put(store, name, encoded(entry(number)))
            case "holder":
                token += 1
                Ledger(store).write("asset", partition, entry(number))
            case "remove":
                Ledger(store).remove("asset", partition)
            case "damage":
                put(store, name, encoded(entry(number))[:-7])
            case "keep":
                write_snapshot(store, "asset")
                snapshots.append(store.read(SNAPSHOT))
            case "snapshot":  # of a backup, or of a process that slept; or cut short
                old = chance.choice([b"", *snapshots])
                put(store, SNAPSHOT, old[: chance.choice([len(old), len(old) // 2])])
        assert Ledger(store).read_all("asset") == as_they_lie(store)


def test_a_file_that_is_replaced_while_a_snapshot_is_written_is_left_out(store, monkeypatch):
    """Also where a file's mark tells of its content alone, as a bucket's may."""
    name, read_each = layout.ledger("asset", "a", 1), Store.read_each
    put(store, name, encoded(entry(1)))

    def replaced_before(self, names):
        put(store, name, encoded(entry(2)))
        return read_each(self, names)

    def of_content(self, folder):
        return {found: (store.read(found),) for found in store.names(folder)}

    monkeypatch.setattr(Store, "marks", of_content)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "read_each", replaced_before)
        write_snapshot(store, "asset")
    put(store, name, encoded(entry(1)))
    assert opened(store, monkeypatch) == [name]


def test_a_file_that_was_just_written_is_not_settled(tmp_path, monkeypatch):
    """Within a step of the filesystem's clock another file might have the same mark."""
    monkeypatch.setattr(ledger_snapshot, "SETTLED_SECONDS", 600.0)
    store = Store(str(tmp_path))
    put(store, layout.ledger("asset", "a", 1), encoded(entry(1)))
    write_snapshot(store, "asset")
    assert opened(store, monkeypatch) == [layout.ledger("asset", "a", 1)]


def test_snapshots_are_written_once_many_entries_lie_beside_them(store, monkeypatch):
    monkeypatch.setattr(ledger, "_MANY", 3)
    first = Ledger(store)
    for i, partition in enumerate(PARTITIONS[:4]):
        first.write("asset", partition, entry(i))
    first.write("other", "a", entry(1))
    first.write("whole", None, entry(1))
    assert store.names_beginning("ledger/") == ["ledger/whole.json"]
    first.write_snapshots()
    assert store.names_beginning("ledger/") == [SNAPSHOT, "ledger/whole.json"]
    assert opened(store, monkeypatch) == []
    kept = store.read(SNAPSHOT)
    second = Ledger(store)
    second.read_all("asset")
    second.write("asset", "a", entry(9))
    second.write_snapshots()
    assert store.read(SNAPSHOT) == kept
    assert opened(store, monkeypatch) == [layout.ledger("asset", "a")]


def test_reading_writes_nothing(store):
    put(store, layout.ledger("asset", "a", 1), encoded(entry(1)))
    before = store.names("")
    Ledger(store).read_all("asset")
    Ledger(store).read_ahead("asset")
    assert store.names("") == before


def test_a_damaged_entry_is_found_whatever_the_snapshot_holds(store, monkeypatch):
    """Rot changes no time: work goes on with what was recorded, and `verify` tells of it."""
    put(store, layout.ledger("asset", "a", 1), encoded(entry(1)))
    write_snapshot(store, "asset")
    marks = store.marks("ledger/asset")
    put(store, layout.ledger("asset", "a", 1), b"{}")
    monkeypatch.setattr(Store, "marks", lambda *_: marks)
    assert Ledger(store).read_all("asset") == {"a": entry(1)}
    assert list(Ledger(store).unreadable("asset")) == [("a", layout.ledger("asset", "a", 1))]


def test_a_snapshot_is_no_stray_file_and_no_entry():
    assert layout.is_bookkeeping(SNAPSHOT)
    assert layout.ledger_parts("asset", SNAPSHOT) is None
    assert layout.any_ledger_token(SNAPSHOT) is None
    assert Path(SNAPSHOT).parent == Path(layout.ledger_folder("asset")).parent
