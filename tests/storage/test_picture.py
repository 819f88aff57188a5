"""A picture of a bucket answers as the bucket would, and asks it once."""

import threading
from collections import Counter
from contextlib import ExitStack, nullcontext
from random import Random

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.store import Store
from curator_assets.storage.versions import file_of, stored_files

FOLDERS = ("a", "a/deep", "a.b", "b", "trash/a", "trash/b", layout.ARRIVALS, layout.LEASE)
NAMES = [
    "top",
    "top.x",
    *(f"{folder}/{name}" for folder in FOLDERS for name in ("x", "x.1", "xy", "[x]", "x*")),
]
ASKED = ["", "a", "a/deep", "a.b", "b", "c", "trash", "trash/a", layout.ARRIVALS]
PREFIXES = ["t", "top", "a", "a/", "a/x", "a/deep/x", "a.b/x", "trash/a/x", "c/x", "b/["]


class Holder:
    """A guard that holds."""

    token, run = 1, "run"

    def require(self) -> None:
        pass


@pytest.fixture
def place(tmp_path):
    place = f"memory://pictures/{tmp_path.name}"
    yield place
    store = Store(place)
    if store.fs.exists(store.root):
        store.fs.rm(store.root, recursive=True)


def put(store: Store, name: str, data: bytes) -> None:
    with store.write(name) as file:
        file.write(data)


def answers(store: Store) -> dict[object, object]:
    """All that a store can be asked."""
    found: dict[object, object] = {f"names {folder}": store.names(folder) for folder in ASKED}
    found |= {f"marks {folder}": list(store.marks(folder)) for folder in ASKED}
    found |= {f"beginning {prefix}": store.names_beginning(prefix) for prefix in PREFIXES}
    found |= {name: store.size(name) for name in NAMES}
    there = [name for name in NAMES if store.size(name) is not None]
    found["held"] = stored_files(store, there)
    found["read"] = [store.read(name) for name in there]
    return found


def change(random: Random, store: Store, trash: Store) -> None:
    """Do something about files, be it in vain."""
    name, other = random.choice(NAMES), random.choice(NAMES)
    data = random.randbytes(random.randrange(4))
    match random.randrange(10):
        case 0 | 1:
            put(store, name, data)
        case 2:
            put(trash, random.choice(["a/x", "b/xy", "a/new"]), data)
        case 3 | 8 | 9:
            store.remove(name)
        case 4:
            store.move(name, other)
        case 5:
            store.create(name, data)
        case 6:
            with pytest.raises(RuntimeError), store.write(name) as file:
                file.write(data)
                raise RuntimeError
        case _:
            try:
                store.copy(name, other)
            except FileNotFoundError:
                assert store.size(name) is None


@pytest.mark.parametrize("is_held", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_it_answers_as_the_bucket_does(place, seed, is_held):
    random, store, trash = Random(seed), Store(place), Store(f"{place}/{layout.TRASH}")
    for _ in range(20):
        change(random, store, trash)
    with store.guarded(Holder()) if is_held else nullcontext(), store.pictured():
        for _ in range(20):
            change(random, store, trash)
            here, told = answers(store), answers(Store(place))
            in_trash = trash.names("a")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("curator_assets.storage.remote_files._pictures", {})
                asked = answers(Store(place))
                assert in_trash == trash.names("a")
            assert here == told == asked


@pytest.fixture
def asked(monkeypatch) -> Counter[str]:
    """How often fsspec's memory was asked for what."""
    counts = Counter[str]()
    for name in ("info", "find", "ls", "cat_file"):
        real = getattr(MemoryFileSystem, name)

        def counted(*args, _real=real, _name=name, **kwargs):
            counts[_name] += 1
            return _real(*args, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, name, counted)
    return counts


def test_all_of_it_is_listed_once_and_what_is_written_is_not_asked_for(place, asked):
    store = Store(place)
    for i in range(50):
        put(store, f"a/{i}", b"x")
    with store.guarded(Holder()), store.pictured():
        assert store.names("a") == sorted(f"a/{i}" for i in range(50))
        asked.clear()
        for i in range(50):
            assert store.size(f"a/{i}") == 1
            put(store, f"a/{i}", bytes(i))
            store.remove(f"a/{i}.gone")
            assert stored_files(store, [f"a/{i}"]) == {f"a/{i}": file_of(bytes(i))}
        assert sorted(file.n_bytes for file in map(store.known, store.names("a"))) == [*range(50)]
        with pytest.raises(FileNotFoundError):
            store.read("a/none")
    assert sum(asked.values()) == 0


def test_under_a_guard_a_process_without_a_picture_does_not_ask_for_what_it_wrote(place, asked):
    store, guard = Store(place), Holder()
    with store.guarded(guard):
        put(store, "a/x", b"xy")
        asked.clear()
        assert stored_files(store, ["a/x"]) == {"a/x": file_of(b"xy")}
        assert store.size("a/x") == 2
        assert sum(asked.values()) == 0
    put(Store(place), "a/x", b"another")
    assert stored_files(store, ["a/x"]) == {"a/x": file_of(b"another")}
    with store.guarded(Holder()):
        assert store.size("a/x") == 7


def test_others_are_seen_at_once_where_they_may_write(place):
    store, fs = Store(place), MemoryFileSystem()
    with store.guarded(Holder()), store.pictured():
        for folder in (layout.LEASE, layout.ARRIVALS):
            assert store.names(folder) == []
            fs.pipe_file(f"{store.root}/{folder}/1.json", b"x")
            assert store.names(folder) == [f"{folder}/1.json"]
            assert store.size(f"{folder}/1.json") == 1


def test_what_another_process_put_in_place_is_told_or_asked_for_again(place):
    store, fs = Store(place), MemoryFileSystem()
    put(store, "a/x", b"before")
    with store.guarded(Holder()), store.pictured():
        before = stored_files(store, ["a/x"])
        fs.pipe_file(f"{store.root}/a/x", b"made by a worker")
        fs.pipe_file(f"{store.root}/new/y", b"y")
        assert stored_files(store, ["a/x"]) == before
        store.placed({"a/x": file_of(b"made by a worker"), "new/y": file_of(b"y")})
        assert store.size("a/x") == 16
        assert stored_files(store, ["a/x"]) == {"a/x": file_of(b"made by a worker")}
        assert store.names("new") == ["new/y"]
        fs.pipe_file(f"{store.root}/a/x", b"it failed after that")
        fs.rm_file(f"{store.root}/new/y")
        store.look_again(["a/x", "new/y"])
        assert (store.size("a/x"), store.size("new/y")) == (20, None)
        assert stored_files(store, ["a/x"]) == {"a/x": file_of(b"it failed after that")}


def test_no_picture_outlives_what_it_was_taken_under(place):
    store, fs = Store(place), MemoryFileSystem()
    put(store, "a/x", b"1")
    with ExitStack() as looks:
        looks.enter_context(store.pictured())
        assert store.size("a/x") == 1
        fs.pipe_file(f"{store.root}/a/x", b"12")
        assert store.size("a/x") == 1
        with store.guarded(Holder()), store.pictured():
            assert store.size("a/x") == 2
            with Store(place).pictured():  # of one who only looks, under the same guard
                put(store, "a/x", b"123")
                assert Store(place).size("a/x") == 3
            assert store.size("a/x") == 3
        fs.pipe_file(f"{store.root}/a/x", b"1234")
        assert store.size("a/x") == 4
    with store.guarded(Holder()), store.pictured():
        assert store.size("a/x") == 4


def test_threads_that_write_while_it_is_listed_are_all_seen(place):
    store = Store(place)
    for i in range(200):
        put(store, f"a/old{i}", b"x")
    with store.guarded(Holder()), store.pictured():
        threads = [
            threading.Thread(target=lambda i=i: [put(store, f"a/{i}.{j}", b"") for j in range(50)])
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        seen = len(store.names("a"))
        for thread in threads:
            thread.join()
        assert 200 <= seen <= 400
        assert len(store.names("a")) == 400


def test_a_refresh_opens_no_entry_that_one_before_it_read_or_wrote(place, asked):
    store = Store(place)
    Ledger(store).write("asset", "by hand", Entry("f", "v"))
    with store.guarded(Holder()), store.pictured():
        ledger = Ledger(store)
        for i in range(30):
            ledger.write("asset", f"{i}", Entry("f", f"{i}"), {"n": i})
        assert len(ledger.read_all("asset")) == 31
        asked.clear()
        ledger.write_snapshots()
        assert asked == {"find": 1}  # the marks of what it wrote
    for _ in range(2):
        with store.pictured():
            asked.clear()
            ledger = Ledger(store)
            ledger.read_ahead("asset")
            assert len(ledger.read_all("asset")) == 31
            assert ledger.read("asset", "7") == Entry("f", "7")
            assert asked["cat_file"] == 1
            ledger.write_snapshots()
    put(store, layout.ledger("asset", "by hand"), b"edited")
    with store.pictured():
        assert Ledger(store).read("asset", "by hand") is None
        assert len(Ledger(store).read_all("asset")) == 30


def test_an_entry_that_somebody_else_put_in_its_place_is_not_taken_for_the_one_written(place):
    store, fs = Store(place), MemoryFileSystem()
    with store.guarded(Holder()), store.pictured():
        ledger = Ledger(store)
        for i in range(3):
            ledger.write("asset", f"{i}", Entry("f", f"{i}"))
        fs.pipe_file(f"{store.root}/{layout.ledger('asset', '1', 1)}", b"by hand")
        ledger.write_snapshots()
    assert Ledger(store).read_all("asset").keys() == {"0", "2"}
