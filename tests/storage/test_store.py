import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import fsspec
import pytest

from curator_assets.storage.local_files import own_folder
from curator_assets.storage.store import Store


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_appears_only_when_the_block_ends(tmp_path):
    store = Store(str(tmp_path))
    with store.write("a/b.bin") as file:
        file.write(b"12")
        assert store.size("a/b.bin") is None
    assert store.size("a/b.bin") == 2


def test_a_failed_write_leaves_what_was_there(tmp_path):
    store = Store(str(tmp_path))
    with store.write("a.bin") as file:
        file.write(b"good")
    with pytest.raises(RuntimeError), store.write("a.bin") as file:
        file.write(b"bad")
        raise RuntimeError
    assert store.read("a.bin") == b"good"
    assert names(tmp_path) == ["a.bin"]


def test_a_full_disk_is_reported_with_the_file(tmp_path):
    store = Store(str(tmp_path))
    expected = r"No space left on device: '.*/a\.bin'"
    with pytest.raises(OSError, match=expected), store.write("a.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_a_kill_midway_leaves_nothing_readable_and_the_next_write_tidies_up(tmp_path):
    script = textwrap.dedent("""
        import os, signal, sys
        from curator_assets.storage.store import Store
        with Store(sys.argv[1]).write("a.bin") as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    store = Store(str(tmp_path))
    assert store.size("a.bin") is None
    assert len(names(tmp_path)) == 1
    with store.write("a.bin") as file:
        file.write(b"whole")
    assert names(tmp_path) == ["a.bin"]


def test_what_another_machine_is_writing_is_left_for_a_day(tmp_path):
    theirs, old = tmp_path / ".b.bin.elsewhere.1.partial", tmp_path / ".c.bin.elsewhere.1.partial"
    theirs.write_bytes(b"half")
    old.write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    with Store(str(tmp_path)).write("a.bin") as file:
        file.write(b"whole")
    assert sorted(names(tmp_path)) == [theirs.name, "a.bin"]


@pytest.fixture(params=["links", "no links", "memory"])
def store(tmp_path, request, monkeypatch):
    """One of each kind that a file is created in only if it is absent."""
    if request.param == "memory":
        store = Store(f"memory://{tmp_path.name}")
        yield store
        store.fs.rm(store.root, recursive=True)
        return
    if request.param == "no links":

        def link(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
    yield Store(str(tmp_path))


def test_a_file_is_created_only_if_it_is_absent(store):
    assert store.create("a/b.bin", b"first")
    assert not store.create("a/b.bin", b"second")
    assert store.read("a/b.bin") == b"first"
    assert [n for n in store.names("a") if not n.endswith(".lock")] == ["a/b.bin"]
    store.remove("a/b.bin")
    assert store.create("a/b.bin", b"third")


@pytest.mark.parametrize("store", ["links", "no links"], indirect=True)
def test_of_threads_that_create_at_once_one_succeeds(store):
    start, created = threading.Barrier(8), []

    def create(thread):
        for i in range(50):
            start.wait()
            if store.create(f"a/{i}", str(thread).encode()):
                created.append((f"a/{i}", str(thread).encode()))

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == sorted((f"a/{i}", store.read(f"a/{i}")) for i in range(50))


def test_a_kill_before_a_file_is_created_leaves_nothing_readable(tmp_path):
    script = textwrap.dedent("""
        import os, signal, sys
        from curator_assets.storage.store import Store
        os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        Store(sys.argv[1]).create("a.bin", b"whole")
    """)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    store = Store(str(tmp_path))
    assert store.size("a.bin") is None
    assert store.create("a.bin", b"another")
    assert names(tmp_path) == ["a.bin"]


def test_a_file_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "a").write_bytes(b"no folder")
    with pytest.raises(FileExistsError):
        Store(str(tmp_path)).create("a/b.bin", b"")


def test_many_files_are_read_in_order_and_gone_ones_left_out(store, monkeypatch):
    monkeypatch.setattr("curator_assets.storage.bucket.bucket._AT_ONCE", 2)
    wanted = ["b", "a/b", "wild[1]*", "empty"]
    for name in wanted:
        store.create(name, b"" if name == "empty" else name.encode())
    found = list(store.read_each([*wanted[:2], "gone", *wanted[2:]]))
    assert found == [("b", b"b"), ("a/b", b"a/b"), ("wild[1]*", b"wild[1]*"), ("empty", b"")]
    assert [n for n in store.names("") if not n.endswith(".lock")] == sorted(wanted)
    assert list(store.read_each([])) == []
    assert store.names("none") == []
    with pytest.raises(FileNotFoundError):
        store.read("gone")


def test_of_many_files_one_that_fails_and_is_gone_when_it_is_asked_again_is_left_out(monkeypatch):
    store = Store("memory://vanishing")
    for name in ("a", "b", "c"):
        store.create(name, name.encode())
    cat_ranges = type(store.fs).cat_ranges

    def fail_once(fs, paths, *rest, **options):
        found = cat_ranges(fs, paths, *rest, **options)
        if len(paths) > 1:
            fs.rm_file(paths[1])
            found[1] = OSError(errno.EIO, "Input/output error")
        return found

    monkeypatch.setattr(type(store.fs), "cat_ranges", fail_once)
    assert list(store.read_each(["a", "b", "c"])) == [("a", b"a"), ("c", b"c")]
    store.fs.rm(store.root, recursive=True)


def test_a_bucket_that_fails_is_not_taken_for_an_empty_one(monkeypatch):
    store = Store("memory://failing")

    def fail(*_, **__):
        raise PermissionError("no access")

    monkeypatch.setattr(type(store.fs), "cat_file", fail)
    with pytest.raises(PermissionError):
        list(store.read_each(["a"]))


def test_an_object_store_works_alike():
    store = Store("memory://bucket/out")
    with pytest.raises(RuntimeError), store.write("a.bin") as file:
        raise RuntimeError
    assert store.size("a.bin") is None
    with store.write("a.bin") as file:
        file.write(b"12")
    assert store.open("a.bin").read() == b"12"
    assert store.url("a.bin") == "memory:///bucket/out/a.bin"
    store.remove("a.bin")
    store.remove("a.bin")
    assert fsspec.filesystem("memory").find("/bucket/out") == []


def test_a_name_may_be_as_long_as_the_filesystem_takes(tmp_path):
    store, name = Store(str(tmp_path)), "ü" * 120 + ".parquet"
    with store.write(name) as file:
        file.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_ranges_of_a_file_are_read_or_an_error_is_raised(tmp_path):
    for store in (Store(str(tmp_path)), Store("memory://ranges")):
        with store.write("a") as file:
            file.write(b"0123456789")
        assert store.read_ranges("a", [(2, 4), (8, 12)]) == [b"23", b"89"]
        assert store.read_ranges("a", []) == []
        with pytest.raises(FileNotFoundError):
            store.read_ranges("b", [(0, 1)])


def test_a_copy_stays_when_the_file_is_replaced(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EXDEV, "another disk")

    for store in (Store(str(tmp_path)), Store("memory://copies")):
        for link in (os.link, no_links):
            monkeypatch.setattr(os, "link", link)
            with store.write("a") as file:
                file.write(b"before")
            store.copy("a", "x/[1]")
            with store.write("a") as file:
                file.write(b"after")
            assert store.read("x/[1]") == b"before"
        monkeypatch.undo()
        with pytest.raises(FileNotFoundError):
            store.copy("no such file", "y")


def test_folders_of_killed_processes_are_removed_and_others_stay(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make = "import time; from curator_assets.storage.local_files import own_folder as f; x = f(); "
    command = [sys.executable, "-c", make + "print(x.name, flush=True); time.sleep(60)"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    folders = []
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        folders.append(Path(process.stdout.readline().strip()))
        if len(folders) == 1:
            process.kill()
            process.communicate()
            assert folders[0].is_dir()
    with own_folder() as mine:
        assert sorted(tmp_path.iterdir()) == sorted([folders[1], Path(mine)])
    process.kill()
    process.communicate()
