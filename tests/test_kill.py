"""kill -9 in the middle of the work, then the same command again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from pipeline import Pipeline

SCRIPT = """
import sys
from pathlib import Path
import dagster as dg
from pipeline import Pipeline
with dg.DagsterInstance.ephemeral() as instance:
    Pipeline(Path(sys.argv[1]), instance).run_all()
"""


def run(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def kill_when(process: subprocess.Popen, folder: Path, pattern: str) -> None:
    """Kill -9 as soon as a file matches."""
    while not any(folder.glob(pattern)):
        assert process.poll() is None, f"it ended before {pattern} appeared"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


def output(folder: Path) -> dict[str, bytes]:
    shards = folder / "curated/shards"
    return {str(p.relative_to(shards)): p.read_bytes() for p in shards.rglob("*") if p.is_file()}


@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_where_it_was_and_ends_byte_identical(tmp_path, curated_folder):
    killed = tmp_path / "killed"
    shutil.copytree(curated_folder / "tars", killed / "tars")
    kill_when(run(killed), killed, "curated/ledger/image_embeddings/**/*.entry")
    assert not list(killed.glob("curated/shards/**/*.tar"))
    kill_when(run(killed), killed, "curated/shards/**/*.partial")
    with dg.DagsterInstance.ephemeral() as instance:
        Pipeline(killed, instance).run_all()

    assert output(killed) == output(curated_folder)
    assert output(killed)
    assert not list(killed.rglob("*.partial"))
