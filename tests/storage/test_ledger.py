import threading
from itertools import combinations

import pytest
from storage.conftest import put

from curator_assets.storage import layout
from curator_assets.storage.entries import encoded, sealed
from curator_assets.storage.ledger import Entry, Ledger, StoredFile
from curator_assets.storage.store import Store
from curator_assets.storage.versions import hash_of, stored_files, version_of

ENTRY = Entry(
    "f",
    "v",
    inputs={"a": "1"},
    files={"y": StoredFile(1, "aa"), "x": StoredFile(2, "bb")},
    checks={"check": {"n": 3}},
    warnings={"warning": {}},
    state={"s": [1]},
)
METADATA = {"n": 2, "rows": [{"row": 1}], "chart": "plain"}


@pytest.fixture(autouse=True)
def something(store):
    put(store, "something", b"")  # a filesystem in memory forgets a folder without files


def below(store: Store, folder: str) -> list[str]:
    return [name for name in store.names(folder) if "partial" not in name]


def test_an_entry_round_trips(store):
    ledger = Ledger(store)
    assert ledger.read("asset", "a/b") is None
    ledger.write("asset", "a/b", ENTRY, METADATA)
    for reader in (ledger, Ledger(store)):
        assert reader.read("asset", "a/b") == ENTRY
        assert list(reader.read("asset", "a/b").files) == ["y", "x"]
        assert reader.read_metadata("asset", "a/b") == METADATA
        assert reader.read("asset", "a/b").data_version == "v"
    ledger.remove("asset", "a/b")
    assert ledger.read("asset", "a/b") is None
    assert ledger.read_metadata("asset", "a/b") == {}
    assert below(store, "") == ["something"]


def test_an_entry_is_one_line_without_metadata(store):
    Ledger(store).write("asset", None, ENTRY, METADATA | {"long": "x" * 40_000})
    lines = store.read("ledger/asset.json").splitlines()
    assert len(lines) == 1
    assert len(lines[0]) < 600


def test_two_writes_give_identical_bytes(store):
    names = layout.ledger("asset", "a"), layout.metadata("asset", "a")
    Ledger(store).write("asset", "a", ENTRY, METADATA)
    before = [store.read(name) for name in names]
    Ledger(store).write("asset", "a", ENTRY, dict(reversed(METADATA.items())))
    assert [store.read(name) for name in names] == before


def test_nothing_reported_leaves_no_metadata(store):
    ledger = Ledger(store)
    ledger.write("asset", "a", ENTRY, METADATA)
    ledger.write("asset", "a", ENTRY)
    assert ledger.read_metadata("asset", "a") == {}
    assert below(store, "metadata") == []


PARTITIONS = [
    None,
    "a",
    "a.7",
    "a.7.entry",
    "a.71",
    "a.b",
    "a.b.c",
    "a/b",
    "a.b/c",
    "b",
    "b.c",
    "a.sheet",
    "a.json",
    "a.jpg",
]


def test_no_two_partitions_share_a_file(store):
    names = [layout.ledger("asset", p, token) for p in PARTITIONS for token in (0, 1, 7, 71)]
    names += [layout.metadata("asset", p) for p in PARTITIONS]
    assert len(set(names)) == len(names)
    paths = [name.split("/") for name in names]  # nor is one's file another's folder
    assert not any(long[: len(short)] == short for short, long in combinations(paths, 2))
    reported = {partition: {"of": partition} for partition in PARTITIONS}
    for partition, metadata in reported.items():
        Ledger(store).write("asset", partition, Entry("f", str(partition)), metadata)
    Ledger(store).remove("asset", "a")
    del reported["a"]
    for partition, metadata in reported.items():
        assert Ledger(store).read_metadata("asset", partition) == metadata
        assert Ledger(store).read("asset", partition).data_version == str(partition)


@pytest.mark.parametrize("partition", [p for p in PARTITIONS if p])
@pytest.mark.parametrize("token", [0, 1, 7, 10**12])
def test_an_entrys_name_tells_its_partition_and_its_token(partition, token):
    name = layout.ledger("asset", partition, token)
    assert layout.ledger_partition("asset", name) == partition
    assert layout.any_ledger_token(name) == token
    assert layout.ledger_token("asset", partition, name) == token
    assert layout.ledger_token("asset", "another", name) is None
    assert layout.ledger_partition("another", name) is None


@pytest.mark.parametrize("suffix", ["07.entry", "0.entry", "x.entry", "entry", "-1.entry", "7.txt"])
def test_what_is_no_entry_is_left_alone(store, suffix):
    put(store, f"ledger/asset/a.{suffix}", b"{}")
    assert Ledger(store).read("asset", "a") is None
    assert Ledger(store).read_all("asset") == {}
    Ledger(store).write("asset", "a", ENTRY)
    Ledger(store).remove("asset", "a")
    assert below(store, "ledger") == [f"ledger/asset/a.{suffix}"]


def test_an_entry_that_another_process_replaces_is_found(store, monkeypatch):
    """Its file goes between the listing and the reading."""
    Ledger(store).write("asset", "a", Entry("f", "old"))
    put(store, layout.ledger("asset", "b"), store.read(layout.ledger("asset", "a")))
    marks, names_beginning = Store.marks, Store.names_beginning

    def replace():
        for partition in ("a", "b"):
            put(store, layout.ledger("asset", partition, 3), encoded(Entry("f", "new")))
            store.remove(layout.ledger("asset", partition))
        monkeypatch.undo()

    def replaced_after(listed):
        def listing(self, folder):
            found = listed(self, folder)
            replace()
            return found

        return listing

    monkeypatch.setattr(Store, "marks", replaced_after(marks))
    found = Ledger(store).read_all("asset")
    assert {name: entry.data_version for name, entry in found.items()} == {"a": "new", "b": "new"}
    for partition in ("a", "b"):
        put(store, layout.ledger("asset", partition), encoded(Entry("f", "old")))
        store.remove(layout.ledger("asset", partition, 3))
    monkeypatch.setattr(Store, "names_beginning", replaced_after(names_beginning))
    assert Ledger(store).read("asset", "a").data_version == "new"


def test_names_that_begin_so_are_those_of_files_in_one_folder(store):
    for name in ("a/b.1", "a/b.2", "a/b/c", "a/b.d/e", "a/c", "b.1", "a/[b].1"):
        put(store, name, b"")
    assert store.names_beginning("a/b.") == ["a/b.1", "a/b.2"]
    assert store.names_beginning("a/[") == ["a/[b].1"]
    assert store.names_beginning("b") == ["b.1"]
    assert store.names_beginning("none/b") == []
    assert store.names_beginning("a/c/b") == []


def test_what_was_read_ahead_does_not_hide_what_another_process_records(store):
    Ledger(store).write("asset", "a", Entry("f", "v"))
    ledger = Ledger(store)
    ledger.read_ahead("asset")
    Ledger(store).write("asset", "b", Entry("f", "theirs"))
    assert ledger.read("asset", "b").data_version == "theirs"
    assert ledger.read_all("asset").keys() == {"a", "b"}


def test_all_partitions_are_read_in_bulk_and_once(store, monkeypatch):
    names = [name for name in PARTITIONS if name] + ["wild[1]", "wild*", "wild1"]
    for name in names:
        Ledger(store).write("asset", name, Entry("f", name))
    Ledger(store).write("asset", None, Entry("f", "whole"))
    Ledger(store).write("other", "a", Entry("f", "other"))
    put(store, "ledger/asset/damaged.json", b"[]")
    put(store, "ledger/asset/a.txt", b"no entry")
    ledger = Ledger(store)
    found = ledger.read_all("asset")
    assert {name: entry.data_version for name, entry in found.items()} == {n: n for n in names}
    assert list(found) == sorted(names)
    assert ledger.read("asset").data_version == "whole"
    for method in ("read", "read_each", "names", "marks"):
        monkeypatch.delattr(Store, method)
    assert ledger.read_all("asset") == found
    assert ledger.read("asset", "a/b") == Entry("f", "a/b")
    assert ledger.read("asset", "damaged") is None
    assert ledger.read("asset", "none") is None


def test_all_partitions_are_as_this_ledger_wrote_them(store):
    for name in "abc":
        Ledger(store).write("asset", name, Entry("f", "old"))
    ledger = Ledger(store)
    ledger.write("asset", "a", Entry("f", "new"))
    ledger.remove("asset", "b")
    assert {n: e.data_version for n, e in ledger.read_all("asset").items()} == {
        "a": "new",
        "c": "old",
    }
    ledger.write("asset", "d", Entry("f", "new"))
    ledger.remove("asset", "a")
    assert list(ledger.read_all("asset")) == ["c", "d"]
    assert Ledger(store).read_all("none") == {}


WHOLE = {"fingerprint": "f", "data_version": "v", "inputs": {}, "files": [], "reported": []}
WHOLE |= {"checks": {}, "warnings": {}, "state": {}}
DAMAGED = {
    "empty": b"",
    "cut": b'{"fingerprint": "f"',
    "not utf-8": b"\xff\xfe",
    "zeros": bytes(512),
    "nested": b"[" * 100_000,
    "a list": b"[]",
    "a string": b'"fingerprint"',
    "null": b"null",
    "two lines": sealed(WHOLE) + b"\n{}\n",
    "one byte": sealed(WHOLE).replace(b'"v"', b'"w"'),
    "another hash": sealed(WHOLE).replace(b": ", b': "0', 1),
    "no hash": b"{" + sealed(WHOLE).partition(b", ")[2],
    "no fields": b"{}",
    "a field too few": sealed({k: v for k, v in WHOLE.items() if k != "state"}),
    "a field too many": sealed(WHOLE | {"metadata": {}}),
    **{
        f"{name}: {value}": sealed(WHOLE | {name: value})
        for name, value in [
            ("fingerprint", None),
            ("data_version", 1),
            ("inputs", []),
            ("state", None),
            ("checks", {"check": 1}),
            ("warnings", {"check": None}),
            ("files", {}),
            ("files", None),
            ("files", 1),
            ("files", "abc"),
            ("files", ["abc"]),
            ("files", [["x", 1]]),
            ("files", [["x", "1", "aa"]]),
            ("files", [["x", True, "aa"]]),
            ("files", [["x", 1.5, "aa"]]),
            ("files", [["x", 1, None]]),
            ("reported", None),
        ]
    },
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_entry_counts_as_none(store, data):
    put(store, layout.ledger("asset", "a"), data)
    assert Ledger(store).read("asset", "a") is None
    assert Ledger(store).read_all("asset") == {}


def test_what_the_damage_is_told_from_is_whole(store):
    put(store, layout.ledger("asset", "a"), sealed(WHOLE))
    assert Ledger(store).read("asset", "a") == Entry("f", "v")


@pytest.mark.parametrize("name", ["ledger/asset/a.json", "ledger/asset"])
def test_a_folder_or_a_file_in_place_of_an_entry_counts_as_none(tmp_path, name):
    store = Store(str(tmp_path))
    put(store, f"{name}/x" if name.endswith(".json") else name, b"")
    assert Ledger(store).read("asset", "a") is None
    assert "a" not in Ledger(store).read_all("asset")
    assert Ledger(store).read_metadata("asset", "a") == {}


def test_damaged_entries_are_found(store):
    for partition in (None, "a", "b"):
        Ledger(store).write("asset", partition, ENTRY, METADATA)
    assert list(Ledger(store).unreadable("asset")) == []
    damaged = [(None, layout.ledger("asset", None)), ("b", layout.ledger("asset", "b", 7))]
    for _, name in damaged:
        put(store, name, b"{}")
    assert list(Ledger(store).unreadable("asset")) == damaged
    assert list(Ledger(store).unreadable("none")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"values": {"n": ',
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"values": null}',
        b'{"values": {}, "others": {}}',
        b'{"values": {"rows": [{}, 1]}}',
    ],
)
def test_damaged_metadata_is_named_and_leaves_the_entry_alone(store, data):
    ledger = Ledger(store)
    ledger.write("asset", "a", ENTRY, METADATA)
    put(store, layout.metadata("asset", "a"), data)
    assert Ledger(store).read("asset", "a") == ENTRY
    expected = r"metadata/asset/a\..* is damaged .*; delete .*ledger/asset/a.json, and its part"
    with pytest.raises(ValueError, match=expected):
        ledger.read_metadata("asset", "a")
    ledger.write("asset", "a", ENTRY, METADATA)
    assert ledger.read_metadata("asset", "a") == METADATA
    put(store, layout.metadata("asset", "a"), data)
    ledger.remove("asset", "a")
    assert ledger.read_metadata("asset", "a") == {}


@pytest.mark.parametrize(
    ("entry", "metadata"),
    [
        (ENTRY, {"n": object()}),
        (ENTRY, {"nested": [b"bytes"]}),
        (Entry("f", "v", state={"n": object()}), {}),
        (Entry("f", None), {}),
        (Entry("f", "v", checks={"check": 1}), {}),
    ],
)
def test_what_could_not_be_read_again_is_refused_before_anything_is_written(store, entry, metadata):
    with pytest.raises((TypeError, ValueError)):
        Ledger(store).write("asset", "a", entry, {"n": 1} | metadata)
    assert below(store, "") == ["something"]


WRITTEN = ["metadata/asset/a.json", "ledger/asset/a.json"]


@pytest.mark.parametrize("n_before", range(2))
def test_a_write_that_is_cut_short_leaves_no_entry(store, monkeypatch, n_before):
    written, write = [], Store.write

    def cut_short(self, name):
        if len(written) == n_before:
            raise KeyboardInterrupt
        written.append(name)
        return write(self, name)

    monkeypatch.setattr(Store, "write", cut_short)
    ledger = Ledger(store)
    with pytest.raises(KeyboardInterrupt):
        ledger.write("asset", "a", ENTRY, METADATA)
    assert written == WRITTEN[:n_before]
    assert Ledger(store).read("asset", "a") is None
    assert ledger.read_all("asset") == {}
    monkeypatch.undo()
    ledger.write("asset", "a", ENTRY, METADATA)
    assert Ledger(store).read_metadata("asset", "a") == METADATA


@pytest.mark.parametrize("n_before", [1])
def test_a_removal_that_is_cut_short_leaves_no_entry_and_is_ended_by_the_next(
    store, monkeypatch, n_before
):
    removed, remove = [], Store.remove

    def cut_short(self, name):
        if len(removed) == n_before:
            raise KeyboardInterrupt
        removed.append(name)
        remove(self, name)

    Ledger(store).write("asset", "a", ENTRY, METADATA)
    monkeypatch.setattr(Store, "remove", cut_short)
    with pytest.raises(KeyboardInterrupt):
        Ledger(store).remove("asset", "a")
    assert Ledger(store).read("asset", "a") is None
    monkeypatch.undo()
    Ledger(store).remove("asset", "a")
    assert below(store, "") == ["something"]


def test_threads_write_and_read_partitions_of_one_ledger(tmp_path):
    ledger = Ledger(Store(str(tmp_path)))
    n_threads, n_partitions = 8, 25
    start, errors = threading.Barrier(n_threads), []

    def work(thread):
        start.wait()
        try:
            for i in range(n_partitions):
                name = f"{i}/{thread}"
                ledger.write("asset", name, Entry("f", name), {"n": 1})
                assert ledger.read_all("asset")[name].data_version == name
                assert ledger.read("asset", f"{i}/{thread}").data_version == name
                if i % 2:
                    ledger.remove("asset", name)
                    assert name not in ledger.read_all("asset")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    expected = sorted(f"{i}/{t}" for i in range(0, n_partitions, 2) for t in range(n_threads))
    assert list(ledger.read_all("asset")) == expected
    assert list(Ledger(Store(str(tmp_path))).read_all("asset")) == expected


def test_missing_files_are_those_that_are_gone_or_of_another_size(store):
    ledger = Ledger(store)
    for name in "xyz":
        put(store, name, b"1234")
    entry = Entry("f", "v", files=stored_files(store, ["x", "y", "z"]))
    assert ledger.missing_files(entry) == []
    store.remove("x")
    put(store, "y", b"12345")
    put(store, "z", b"4321")
    assert ledger.missing_files(entry) == ["x", "y"]


def test_a_file_has_a_hash_of_its_own_and_a_version_covers_all_in_order(store):
    put(store, "x", b"abc")
    put(store, "y", b"")
    x = StoredFile(3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    y = StoredFile(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert store.hash("x") == x
    assert stored_files(store, ["y", "x"]) == {"y": y, "x": x}
    version = version_of({"x": x, "y": y})
    assert len(version) == 32
    assert version == version_of({"a": x, "b": y})
    assert len({version, version_of({"y": y, "x": x}), version_of({"x": x}), version_of({})}) == 4
    Ledger(store).write("asset", None, Entry("f", version, files={"y": y, "x": x}))
    assert version_of(Ledger(store).read("asset").files) == version_of({"y": y, "x": x})
    with pytest.raises(FileNotFoundError):
        store.hash("none")


def test_hash_ignores_the_order_of_keys_only():
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1})
    assert hash_of([1, 2]) != hash_of([2, 1])
    assert hash_of("a", "b") != hash_of("ab")
