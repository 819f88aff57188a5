"""Two refreshes of one output, through the job, the asset ops and the command."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import traps
from pipeline import copied
from tar_files import write_members

from curator_assets.cli.refresh import run
from curator_assets.defs.embed.arithmetic import RECORD
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.workers.supervision import supervised
from curator_assets.storage import layout, lease
from curator_assets.storage.holder import encoded, me
from curator_assets.storage.lease import hold_lease
from curator_assets.storage.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[::40]]


def drop(folder: Path, name: str, *images: bytes) -> None:
    members = [(f"{i}.jpg", image) for i, image in enumerate(images)]
    write_members(folder / f"tars/{name}.tar", members)


def files(folder: Path) -> dict[str, bytes]:
    """All of an output but the lease and what is half written."""
    paths = [path for path in (folder / "curated").rglob("[!.]*") if path.is_file()]
    return {str(p): p.read_bytes() for p in sorted(paths) if p.parent.name != "lease"}


def test_while_another_works_nothing_is_made_by_job_or_asset(pipeline, photos, monkeypatch):
    drop(pipeline.folder, "a", photos[0])
    pipeline.register()
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0)
    with hold_lease(pipeline.store, "the-first"):
        before = files(pipeline.folder)
        assert not pipeline.refresh()
        result = pipeline.materialize("image_embeddings", partitions=("a", "a"), fails=True)
        failure = result.failure_data_for_node("image_embeddings").user_failure_data
        assert "is running: run the-first, process" in failure.description
        assert files(pipeline.folder) == before
    assert pipeline.refresh()


@pytest.mark.parametrize("bucket", [False, True])
def test_two_at_once_do_the_work_once(pipeline, photos, bucket, monkeypatch):
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)
    if bucket:
        pipeline.changes = {"output": f"memory://{pipeline.folder.name}"}
    for i, name in enumerate("ab"):
        drop(pipeline.folder, name, photos[0], photos[i + 1])
    pipeline.note_arithmetic()
    settings, succeeded = pipeline.settings, []

    def refresh():
        with dg.DagsterInstance.ephemeral() as instance:
            succeeded.append(run(instance, settings))

    threads = [threading.Thread(target=refresh) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert succeeded == [True, True]
    assert pipeline.store.names("lease") == ["lease/2.json"]
    names = [n for n in pipeline.store.names("ledger") if RECORD not in n]  # beforehand
    entries = [name for name in names if name.count("/") > 1]
    assert entries
    assert all(name.endswith(".1.entry") for name in entries)  # the second made nothing
    if bucket:
        pipeline.store.fs.rm(pipeline.store.root, recursive=True)


def test_in_a_bucket_a_refresh_that_was_taken_over_from_ends_by_name(pipeline, photos, monkeypatch):
    from curator_assets.engine.dagster import job

    pipeline.changes = {"output": f"memory://{pipeline.folder.name}"}
    store = pipeline.store
    drop(pipeline.folder, "a", photos[0])
    over, left = job.Pass.over, []

    def overtaken(self, stage, reporter):
        if stage.name == "duplicate_groups":
            theirs = replace(me("theirs"), host="other-host", machine="another boot")
            store.fs.pipe_file(store.path(layout.lease(9)), encoded(theirs))
            left.extend(store.names(""))
        yield from over(self, stage, reporter)

    monkeypatch.setattr(job.Pass, "over", overtaken)
    with pytest.raises(lease.LeaseLostError, match=r"taken over from: .*run theirs.*other-host"):
        pipeline_run(pipeline)
    assert store.names("") == left
    store.fs.rm(store.root, recursive=True)


def pipeline_run(pipeline):
    from curator_assets.cli.refresh import run

    return run(pipeline.instance, pipeline.settings)


REFRESH = """
import os, signal, sys
from curator_assets.cli.main import curate
from curator_assets.engine import making
from curator_assets.storage import lease
lease.BEAT_SECONDS = 0.1
recorded = making.recorded
def stopped(stage, done, work):
    if stage.name == "duplicate_groups":
        os.kill(os.getpid(), signal.SIGSTOP)
    return recorded(stage, done, work)
making.recorded = stopped
curate(["refresh"])
"""


@pytest.fixture
def stale(curated_folder, tmp_path):
    """A finished project in which the groups are to be made anew, for which no model is loaded."""
    changes = {"duplicates": {"eps": 0.02}}
    with copied(curated_folder, tmp_path / "stale", changes) as pipeline:
        assert "duplicate_groups" in {n for n, found in pipeline.plan().items() if found.stale}
        yield pipeline


def test_a_refresh_that_was_stopped_taken_over_from_and_goes_on(stale, monkeypatch):
    pipeline = stale
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.5)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)
    command = [sys.executable, "-W", "ignore", "-c", REFRESH]
    environment = {
        k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "CURATOR_CONFIG")
    }
    with subprocess.Popen(
        command, cwd=pipeline.folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert process.poll() is None
            pipeline.changes = {"duplicates": {"keep": "hard"}}
            assert pipeline.refresh()
            after = files(pipeline.folder)
            process.send_signal(signal.SIGCONT)
            _, told = process.communicate()
        finally:
            process.kill()
    assert "was taken over from" in told
    assert process.returncode == 2
    assert files(pipeline.folder) == after
    assert not any(found.stale for found in pipeline.plan().values())


def test_a_worker_process_that_was_taken_over_from_puts_nothing_in_place(pipeline, photos):
    drop(pipeline.folder, "a", photos[0])
    work, store = pipeline.work(), Store(pipeline.settings.output)
    with pytest.raises(lease.LeaseLostError), hold_lease(store, "mine"):
        theirs = replace(me("theirs"), host="other-host", machine="another boot")
        (pipeline.folder / "curated/lease/9.json").write_bytes(encoded(theirs))
        list(supervised(traps.writes, traps.harmless, work, ["a"], ["cpu"]))
    assert [name for name in store.names("") if name.startswith("late")] == []
