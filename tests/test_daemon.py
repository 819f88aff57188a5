"""The sensor and the daemon as `make ui` runs them: tars dropped into a folder, no other hand."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from held_ports import HeldPort
from pipeline import MODEL, note_arithmetic
from tar_files import write_members

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.settings_file import load_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "tars").mkdir()
    (tmp_path / "home").mkdir()
    shutil.copy(ROOT / "dagster.yaml", tmp_path / "home")
    settings = {
        "source": "tars",
        "output": "curated",
        "tick_seconds": 2,
        "model": MODEL,
        "clusters": {"n_clusters": 2, "n_cell_groups": 2},
    }
    (tmp_path / "curator.yaml").write_text(yaml.safe_dump(settings))
    note_arithmetic(load_settings(tmp_path / "curator.yaml"))
    monkeypatch.setenv("CURATOR_CONFIG", str(tmp_path / "curator.yaml"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    dagster = str(Path(sys.executable).with_name("dagster"))
    subprocess.run([dagster, "instance", "info"], check=True, capture_output=True)
    return tmp_path


@contextmanager
def ui(folder: Path):
    """`dagster dev`, with its daemon; killed -9 with all its children at the end."""
    port = HeldPort()
    where = ("-h", "127.0.0.1", "-p", str(port.number))
    with server(folder, "dagster", "dev", *where) as process:
        yield process


@contextmanager
def server(folder: Path, program: str, *arguments: str):
    """A program of Dagster's in a session of its own; killed -9 with its children at the end."""
    path = str(Path(sys.executable).with_name(program))
    command = [path, *arguments, "-w", str(ROOT / "workspace.yaml")]
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        finally:
            kill_all(process)


def kill_all(process: subprocess.Popen) -> None:
    """Kill -9 the server, its daemon, its code server and its runs."""
    session = os.getsid(process.pid) if process.poll() is None else process.pid
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == session:
                    os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue
    process.wait()


def wait_for(what: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + 150
    while not what():
        assert time.monotonic() < deadline, (folder / "server.log").read_text()[-3000:]
        time.sleep(0.5)


def drop(folder: Path, name: str, images: list[bytes]) -> None:
    partial = folder / "tars" / f".{name}"
    write_members(partial, [(f"{i}.jpg", image) for i, image in enumerate(images)])
    partial.rename(folder / "tars" / f"{name}.tar")


def made(folder: Path) -> dict[str, list[str | None]]:
    """The partitions of each asset whose work was done, over all runs."""
    found: dict[str, list[str | None]] = {}
    with dg.DagsterInstance.from_config(str(folder / "home")) as instance:
        for key in instance.all_asset_keys():
            for record in instance.fetch_materializations(key, limit=1000).records:
                materialization = record.asset_materialization
                if materialization.metadata["work_done"].value:
                    found.setdefault(key.to_user_string(), []).append(materialization.partition)
    return found


def reported(folder: Path, asset: str) -> set[str]:
    with dg.DagsterInstance.from_config(str(folder / "home")) as instance:
        return instance.get_materialized_partitions(dg.AssetKey(asset))


@pytest.mark.timeout(600)
def test_dropped_tars_are_curated_by_themselves_even_if_everything_is_killed_midway(project):
    photos = [_jpeg(crop.image) for crop in crops()[::12]]
    for i in range(4):
        drop(project, str(i), photos[3 * i : 3 * i + 3])
    curated = project / "curated/shards"
    with ui(project) as process:
        wait_for(lambda: any(project.glob("curated/ledger/image_embeddings/*.entry")), project)
        kill_all(process)
    assert not list(curated.glob("*.tar"))
    with server(project, "dagster-daemon", "run"):
        wait_for(lambda: len(list(curated.glob("*.tar"))) == 4, project)
        wait_for(lambda: "curation_report" in made(project), project)
        first = made(project)
        assert len(set(first["image_embeddings"])) == len(first["image_embeddings"])  # none twice
        assert reported(project, "image_embeddings") == {"0", "1", "2", "3"}
        inodes = {path.name: path.stat().st_ino for path in curated.glob("*.tar")}

        drop(project, "4", [photos[0], photos[20]])
        wait_for((curated / "4.tar").exists, project)  # to ask Dagster takes the time of its runs
        wait_for(lambda: len(made(project)["curation_report"]) == 2, project)
    second = made(project)
    for asset in ("image_embeddings", "filter_scores", "cluster_assignments"):
        assert sorted(second[asset]) == sorted([*first[asset], "4"])
    assert len(second["centroids"]) == 1
    assert len(second["duplicate_groups"]) == 2
    assert {path.name: path.stat().st_ino for path in curated.glob("[0-3].tar")} == inodes
    assert (curated / "4.tar").exists()
