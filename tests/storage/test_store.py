import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import fsspec
import pytest

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
    assert store.open("a.bin").read() == b"good"
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
