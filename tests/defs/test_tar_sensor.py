"""What the sensor says and asks for, tick by tick."""

import errno
from pathlib import Path

import dagster as dg
import pytest
from tar_files import write_members
from unseen import hide

from curator_assets.defs.source import tar_sensor
from curator_assets.defs.source.tar_sensor import build_tar_sensor
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.job import refresh_job
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_versions import record_version
from curator_assets.storage.shards.tars import TarContent
from curator_assets.storage.store import Store


@pytest.fixture
def tick(tmp_path):
    """Ticks the sensor of a project in this folder: what it asks for or says."""
    settings = Settings(source=str(tmp_path / "tars"), output=str(tmp_path / "out"))
    sensor = build_tar_sensor(settings, refresh_job(GRAPH, settings))

    def tick() -> dg.RunRequest | str:
        with dg.DagsterInstance.ephemeral() as instance:
            result = sensor(dg.build_sensor_context(instance))
        return result.skip_message if isinstance(result, dg.SkipReason) else result

    return tick


def two_ticks(tick) -> dg.RunRequest | str:
    tick()
    return tick()


def test_it_says_what_it_does_not_take_and_why(tick, tmp_path):
    write_members(tmp_path / "tars/a.tar", [])
    (tmp_path / "tars/cut.tar").write_bytes(b"x" * 700)
    (tmp_path / "tars/b.tar.gz").write_bytes(b"x")
    assert "2 tars in the source, none of them new and whole." in tick()
    assert isinstance(tick(), dg.RunRequest)
    said = tick()
    assert "1 not taken: b.tar.gz: compressed (.tar.gz)" in said
    assert "1 not taken: cut.tar: it is no tar" in said
    assert not (tmp_path / "out/not_taken.json").exists()  # it only looks


@pytest.mark.parametrize("n_read_one_by_one", [0, 100])
def test_a_tar_that_a_refresh_has_read_is_not_called_not_taken(
    tick, tmp_path, monkeypatch, n_read_one_by_one
):
    monkeypatch.setattr(tar_sensor, "N_READ_ONE_BY_ONE", n_read_one_by_one)
    for name in "ab":
        write_members(tmp_path / f"tars/{name}.tar", [])
    store, signature = Store(str(tmp_path / "out")), Source(str(tmp_path / "tars")).signature("a")
    record_version(store, Ledger(store), "tar_shards", "a", signature, TarContent("a"))
    said = tick()
    assert said.startswith("2 tars in the source, none of them new and whole. 1 not taken: b.tar: ")
    assert "b.tar: still arriving" in said and said.endswith(".")
    assert "a.tar" not in said


def test_a_folder_that_can_not_be_seen_is_no_removal(tick, tmp_path, monkeypatch):
    for name in ("m/a", "n/b"):
        write_members(tmp_path / f"tars/{name}.tar", [])
    assert isinstance(two_ticks(tick), dg.RunRequest)
    hide(monkeypatch, "tars/m", errno.EIO)
    for _ in range(2):
        assert "m/: it can't be seen: Input/output error" in tick()
    monkeypatch.undo()
    assert "2 tars in the source, none of them new and whole." in tick()
    Path(tmp_path / "tars/m/a.tar").unlink()
    assert tick().tags["curator/tars_removed"] == "1"


def test_it_never_allows_removals(tick, tmp_path):
    write_members(tmp_path / "tars/a.tar", [])
    assert two_ticks(tick).run_config == {}
