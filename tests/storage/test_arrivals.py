import json
import subprocess
import sys
import textwrap

import pytest
from storage.conftest import put

from curator_assets.storage import arrivals
from curator_assets.storage.arrivals import (
    MAX_OBJECTS,
    ArrivalsDamagedError,
    compact_arrivals,
    read_arrivals,
    record_arrivals,
)
from curator_assets.storage.store import Store


def ranked(*shards: str) -> dict[str, int]:
    return {shard: rank for rank, shard in enumerate(shards)}


def record_one_by_one(store: Store, n: int, first: int = 0) -> list[str]:
    shards = [f"{i:04d}" for i in range(first, first + n)]
    for shard in shards:
        record_arrivals(store, [shard])
    return shards


def test_arrivals_are_in_the_order_given_within_a_drop_and_never_change(store):
    assert read_arrivals(store) == {}
    assert record_arrivals(store, []) == {}
    assert store.names("") == []
    assert record_arrivals(store, ["b", "a", "b"]) == ranked("b", "a")
    assert record_arrivals(store, (shard for shard in ["a", "0", "b"])) == ranked("b", "a", "0")
    assert record_arrivals(store, ["0"]) == ranked("b", "a", "0")
    assert list(read_arrivals(store)) == ["b", "a", "0"]
    assert store.names("arrivals") == ["arrivals/00000000.json", "arrivals/00000001.json"]


def test_a_process_that_was_second_takes_the_next_number(store, monkeypatch):
    create, beaten = Store.create, []

    def beat(self, name, data):
        if not beaten:
            beaten.append(name)
            record_arrivals(Store(store.location), ["a", "both"])
        return create(self, name, data)

    record_arrivals(store, ["first"])
    monkeypatch.setattr(Store, "create", beat)
    assert record_arrivals(store, ["both", "b"]) == ranked("first", "a", "both", "b")
    assert beaten == ["arrivals/00000001.json"]
    assert read_arrivals(store) == ranked("first", "a", "both", "b")


def test_a_shard_that_stands_in_two_objects_has_the_rank_of_the_first(store):
    put(store, "arrivals/00000000.json", b'{"first_rank": 0, "shards": ["a", "b"]}')
    put(store, "arrivals/00000001.json", b'{"first_rank": 2, "shards": ["b", "c"]}')
    put(store, "arrivals/00000002.json", b'{"first_rank": 3, "shards": ["d"]}')
    assert read_arrivals(store) == ranked("a", "b", "c", "d")


def test_other_files_are_no_objects(store):
    record_arrivals(store, ["a"])
    for name in (".create.lock", "1.json", "00000001.txt", "notes.json", "old/00000001.json"):
        put(store, f"arrivals/{name}", b"x")
    assert record_arrivals(store, ["b"]) == ranked("a", "b")


def test_above_a_hundred_objects_one_stands_for_all(store):
    shards = record_one_by_one(store, MAX_OBJECTS)
    compact_arrivals(store)
    assert len(store.names("arrivals")) == MAX_OBJECTS
    shards += record_one_by_one(store, 1, MAX_OBJECTS)
    compact_arrivals(store)
    assert store.names("arrivals") == ["arrivals/00000101.json"]
    assert read_arrivals(store) == ranked(*shards)
    shards += record_one_by_one(store, MAX_OBJECTS, len(shards))
    assert read_arrivals(store) == ranked(*shards)
    compact_arrivals(store)
    assert store.names("arrivals") == ["arrivals/00000202.json"]
    assert record_arrivals(store, ["new", "0000"]) == ranked(*shards, "new")


@pytest.mark.parametrize("n_before", [0, 1, 50, MAX_OBJECTS])
def test_a_compaction_that_is_cut_short_changes_no_rank(store, monkeypatch, n_before):
    shards = record_one_by_one(store, MAX_OBJECTS + 1)
    removed, remove = [], Store.remove

    def cut_short(self, name):
        if len(removed) == n_before:
            raise KeyboardInterrupt
        removed.append(name)
        remove(self, name)

    monkeypatch.setattr(Store, "remove", cut_short)
    with pytest.raises(KeyboardInterrupt):
        compact_arrivals(store)
    monkeypatch.undo()
    assert read_arrivals(store) == ranked(*shards)
    assert record_arrivals(store, ["new"]) == ranked(*shards, "new")
    shards += ["new", *record_one_by_one(store, MAX_OBJECTS, len(shards) + 1)]
    compact_arrivals(store)
    assert len(store.names("arrivals")) == 1
    assert read_arrivals(store) == ranked(*shards)


def test_a_compaction_that_is_beaten_to_its_number_begins_again(store, monkeypatch):
    shards = record_one_by_one(store, MAX_OBJECTS + 1)
    create = Store.create

    def beat(self, name, data):
        monkeypatch.undo()
        record_arrivals(Store(store.location), ["late"])
        return create(self, name, data)

    monkeypatch.setattr(Store, "create", beat)
    compact_arrivals(store)
    assert store.names("arrivals") == ["arrivals/00000102.json"]
    assert read_arrivals(store) == ranked(*shards, "late")


@pytest.mark.parametrize("n_known", [0, 1, 5])
def test_a_process_that_slept_through_a_compaction_registers_all_the_same(
    store, monkeypatch, n_known
):
    """It creates a number again that was removed: nobody reads that, and it notices."""
    shards = record_one_by_one(store, n_known)
    create = Store.create

    def sleep(self, name, data):
        monkeypatch.undo()
        shards.extend(record_one_by_one(store, MAX_OBJECTS + 1, n_known))
        compact_arrivals(store)
        assert create(self, name, data)
        return True

    monkeypatch.setattr(Store, "create", sleep)
    assert record_arrivals(store, ["late"]) == ranked(*shards, "late")
    assert read_arrivals(store) == ranked(*shards, "late")
    shards += ["late", *record_one_by_one(store, MAX_OBJECTS, len(shards) + 1)]
    compact_arrivals(store)
    assert len(store.names("arrivals")) == 1
    assert read_arrivals(store) == ranked(*shards)


def test_a_compaction_that_slept_through_another_changes_nothing(store, monkeypatch):
    shards = record_one_by_one(store, MAX_OBJECTS + 1)
    create = Store.create

    def sleep(self, name, data):
        monkeypatch.undo()
        shards.extend(record_one_by_one(store, 5, len(shards)))
        compact_arrivals(store)
        return create(self, name, data)

    monkeypatch.setattr(Store, "create", sleep)
    compact_arrivals(store)
    assert read_arrivals(store) == ranked(*shards)
    assert record_arrivals(store, ["new"]) == ranked(*shards, "new")


@pytest.mark.parametrize("listed", ["whole", "without the newest", "the first half", "nothing"])
def test_a_reader_that_loses_against_a_compaction_looks_again(store, monkeypatch, listed):
    """Its listing saw some of the objects, before or after they were removed."""
    shards, names = record_one_by_one(store, MAX_OBJECTS + 1), Store.names

    def race(self, folder):
        monkeypatch.undo()
        found = names(self, folder)
        compact_arrivals(store)
        n_seen = {"whole": None, "without the newest": -1, "the first half": 50, "nothing": 0}
        return found[: n_seen[listed]]

    monkeypatch.setattr(Store, "names", race)
    assert read_arrivals(store) == ranked(*shards)


DAMAGED = {
    "empty": b"",
    "cut": b'{"first_rank": 1, "sha',
    "not utf-8": b"\xff",
    "nested": b"[" * 100_000,
    "a list": b"[]",
    "no shards": b'{"first_rank": 1, "shards": []}',
    "no rank": b'{"shards": ["b"]}',
    "no string": b'{"first_rank": 1, "shards": ["b", 1]}',
    "a rank that is none": b'{"first_rank": true, "shards": ["b"]}',
    "below 0": b'{"first_rank": -1, "shards": ["b"]}',
    "another field": b'{"first_rank": 1, "shards": ["b"], "more": 1}',
    "a rank too high": b'{"first_rank": 2, "shards": ["b"]}',
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_object_is_named(store, data):
    for shard in "abc":
        record_arrivals(store, [shard])
    before = store.names("arrivals")
    put(store, before[1], data)
    expected = rf"{before[1]} is damaged .*restore .*arrivals "
    with pytest.raises(ArrivalsDamagedError, match=expected):
        read_arrivals(store)
    with pytest.raises(ArrivalsDamagedError):
        record_arrivals(store, ["new"])
    assert store.names("arrivals") == before


def test_an_object_that_wrongly_stands_for_all_before_it_is_noticed_by_the_next(store):
    for shard in "abc":
        record_arrivals(store, [shard])
    put(store, "arrivals/00000001.json", b'{"first_rank": 0, "shards": ["b"]}')
    with pytest.raises(ArrivalsDamagedError, match=r"00000002.json is damaged"):
        read_arrivals(store)


@pytest.mark.parametrize(("gone", "named"), [(0, 1), (1, 2)])
def test_a_missing_object_is_noticed_by_the_next(store, gone, named):
    for shard in "abc":
        record_arrivals(store, [shard])
    store.remove(f"arrivals/{gone:08d}.json")
    expected = rf"0000000{named}.json is damaged .*one before it is missing"
    with pytest.raises(ArrivalsDamagedError, match=expected):
        read_arrivals(store)


REGISTER = textwrap.dedent("""
    import json, sys
    from curator_assets.storage.arrivals import record_arrivals
    from curator_assets.storage.store import Store

    folder, who, n_drops = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store, told = Store(folder), {}
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(n_drops):
        ranks = record_arrivals(store, [f"{who}/{i}", f"both/{i}"])
        assert list(ranks.values()) == list(range(len(ranks)))
        assert told.items() <= ranks.items(), "a rank was lost or changed"
        told = ranks
        assert {f"{who}/{i}", f"both/{i}"} <= told.keys()
    print(json.dumps(told))
""")
COMPACT = textwrap.dedent("""
    import sys, threading
    from curator_assets.storage.arrivals import compact_arrivals, read_arrivals
    from curator_assets.storage.store import Store

    store, told = Store(sys.argv[1]), {}
    print("ready", flush=True)
    sys.stdin.readline()
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set()), daemon=True).start()
    while not stopped.is_set():
        compact_arrivals(store)
        ranks = read_arrivals(store)
        assert told.items() <= ranks.items(), "a rank was lost or changed"
        told = ranks
""")


def started(script: str, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *args]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("n_compacting", "n_drops"), [(0, 150), (1, 300)])
def test_processes_that_register_at_once_lose_no_rank_and_change_none(
    tmp_path, n_compacting, n_drops
):
    """Without compaction each reads every object before it, so that it takes n squared."""
    register = [started(REGISTER, str(tmp_path), who, str(n_drops)) for who in "ab"]
    compact = [started(COMPACT, str(tmp_path)) for _ in range(n_compacting)]
    for process in (*register, *compact):
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate() for process in register]
    ended = [process.communicate("stop\n") for process in compact]
    assert [errors for _, errors in (*told, *ended)] == [""] * (2 + n_compacting)
    ranks = read_arrivals(Store(str(tmp_path)))
    assert set(ranks) == {f"{who}/{i}" for who in ("a", "b", "both") for i in range(n_drops)}
    assert list(ranks.values()) == list(range(3 * n_drops))
    for answer, _ in told:
        assert json.loads(answer).items() <= ranks.items()
    for who in ("a", "b", "both"):
        in_order = [ranks[f"{who}/{i}"] for i in range(n_drops)]
        assert in_order == sorted(in_order)
    n_objects = len(Store(str(tmp_path)).names("arrivals"))
    assert n_objects > n_drops if not n_compacting else n_objects < n_drops


def test_objects_are_read_once_by_a_process_that_tries_again(store, monkeypatch):
    record_one_by_one(store, 10)
    read, n_read = Store.read_each, []

    def count(self, names):
        found = list(read(self, names))
        n_read.extend(found)
        return iter(found)

    monkeypatch.setattr(Store, "read_each", count)
    arrivals.record_arrivals(store, ["new"])
    assert len(n_read) == 11
