"""Scratch files: where they lie, and that nothing is left of them."""

import os
import re
import subprocess
import sys

import pytest

from curator_assets.storage.room import OutputError
from curator_assets.storage.scratch import Scratch
from curator_assets.storage.store import Store

KILLED = """
import os, signal, sys
from curator_assets.storage.scratch import Scratch
from curator_assets.storage.store import Store
file = Scratch(Store(sys.argv[1])).open()
file.write(b"x" * 2**20)
file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_written_is_read_and_has_no_name(tmp_path):
    with Scratch(Store(str(tmp_path))).open() as file:
        file.write(b"abc")
        file.seek(1)
        assert file.read() == b"bc"
        assert os.fstat(file.fileno()).st_dev == tmp_path.stat().st_dev
        assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_nothing(tmp_path):
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)]).returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_has_its_scratch_on_this_machine():
    with Scratch(Store("memory://scratch/out")).open() as file:
        file.write(b"x")


def test_lacking_room_is_told_before_it_lacks(tmp_path):
    scratch = Scratch(Store(str(tmp_path)))
    scratch.require(1)
    message = f"{re.escape(str(tmp_path))}: about 1152921504.6 GB are needed for temporary files"
    with pytest.raises(OutputError, match=message):
        scratch.require(2**60)
