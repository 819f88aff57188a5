"""Work spread over actors of Ray on this machine; tests/cluster has several machines."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import dagster as dg
import psutil
import pytest
import spread_jobs
from own_network import NoRightError, own_network
from tar_files import write_members

from curator_assets.defs.embed.arithmetic import RECORD
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.cluster.crew import NoWorkerError
from curator_assets.engine.cluster.ray_cluster import RayCluster, opened_cluster
from curator_assets.engine.stage import Advanced, Failed, Finished
from curator_assets.storage.lease import LeaseLostError

LOCAL = {"cluster": {"ray": "local", "worker_cpus": 1}}


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    """Ray, for all tests of this module, where it reaches nothing but loopback."""
    import ray

    try:
        with own_network(), pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
            patch.setenv("RAY_AUTH_MODE", "disabled")
            patch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
            ray.init(
                "local",
                num_cpus=2,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                object_store_memory=100 << 20,
                log_to_driver=False,
            )
            yield
            ray.shutdown()
    except NoRightError as error:
        pytest.skip(str(error))


@pytest.fixture
def work(pipeline):
    pipeline.changes = LOCAL
    (pipeline.folder / "tars").mkdir()
    return pipeline.work()


@pytest.fixture
def cluster(_ray, work) -> Iterator[RayCluster]:
    with opened_cluster(GRAPH, work.settings, work.log) as cluster:
        yield cluster
    wait_until_gone()


def wait_until_gone() -> None:
    """Return once no actor lives; Ray kills them behind the scenes."""
    deadline = time.monotonic() + 30
    while actors():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def actors() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "ray::Actor" in p.name()]


def test_partitions_are_made_once_whoever_dies(cluster, work, tmp_path, caplog):
    partitions = [f"{i} sleeps" for i in range(6)]
    partitions += ["6 kills-once", "7 kills", "7b kills", "8 fails"]
    partitions += [str(i) for i in range(9, 30)]
    job = partial(spread_jobs.makes, folder=str(tmp_path))
    items = list(cluster.spread(job, work, partitions))
    made = [item for item in items if isinstance(item, Finished)]
    failed = {item.partition: item.error for item in items if isinstance(item, Failed)}
    assert sorted(item.partition for item in made) == sorted({*partitions} - failed.keys())
    assert failed.keys() == {"7 kills", "7b kills", "8 fails"}
    assert failed["8 fails"] == "as it was told to"
    assert "3 workers of the cluster were lost over it" in failed["7 kills"]
    assert len({item.made.metadata["pid"] for item in made}) > 1
    assert {item.made.metadata["n_cores"] for item in made} == {1}
    rows = Counter()
    for item in items:
        if isinstance(item, Advanced):
            rows[item.partition] += item.n_rows
    assert +rows == Counter({*partitions} - {"7 kills", "7b kills"})
    assert "a line from an actor" in caplog.text
    assert "is lost" in caplog.text


def test_it_says_what_there_is(cluster):
    assert cluster.machines() == "1 machine, 2 workers of 1 CPU core"


def test_what_a_job_raises_is_raised_and_its_worker_serves_on(cluster, work):
    with pytest.raises(KeyError, match="what the job raised"):
        list(cluster.spread(spread_jobs.raises, work, ["a"]))
    before = {process.pid for process in actors()}
    assert list(cluster.alone(spread_jobs.tells, work)) == [work.settings.source]
    assert before & {process.pid for process in actors()}


def test_a_job_of_which_every_worker_dies_is_an_error(cluster, work):
    with pytest.raises(NoWorkerError, match="3 workers of the cluster were lost"):
        list(cluster.alone(spread_jobs.dies, work))


def test_work_that_is_broken_off_ends_whoever_is_at_it(cluster, work, tmp_path):
    job = partial(spread_jobs.makes, folder=str(tmp_path))
    items = cluster.spread(job, work, [f"{i} sleeps" for i in range(100)])
    next(items)
    items.close()
    n_begun = len(list(tmp_path.iterdir()))
    time.sleep(2)  # an actor that had not begun yet waits for another job
    assert len(list(tmp_path.iterdir())) <= n_begun + 1 < 20


def test_a_lease_that_is_lost_ends_it(cluster, work, tmp_path):
    class Lost:
        token, run = 1, "a run"

        def require(self) -> None:
            raise LeaseLostError("another has taken over")

    job = partial(spread_jobs.makes, folder=str(tmp_path))
    with work.store.guarded(Lost()), pytest.raises(LeaseLostError):
        list(cluster.spread(job, work, ["a sleeps"] * 20))


def test_a_refresh_makes_over_ray_what_it_makes_without(_ray, pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    photos = [_jpeg(crop.image) for crop in crops()[::40]]
    members = [(f"{i}.jpg", photo) for i, photo in enumerate([*photos[:3], photos[0]])]
    write_members(pipeline.folder / "tars/a.tar", members)
    write_members(pipeline.folder / "tars/b.tar", members[1:])
    assert pipeline.refresh()
    here, curated = made(pipeline.folder / "curated"), pipeline.folder / "curated"
    curated.rename(pipeline.folder / "made here")
    shutil.copytree(pipeline.folder / "made here/ledger" / RECORD, curated / "ledger" / RECORD)
    pipeline.changes = {"cluster": {"ray": "local"}}
    with dg.DagsterInstance.ephemeral() as instance:
        assert replace(pipeline, instance=instance).refresh()
    assert made(curated) == here
    wait_until_gone()


def made(output: Path) -> dict[str, bytes]:
    """What rests on no clock, and on nobody's place."""
    folders = ("embeddings", "scores", "clusters", "duplicates", "shards", "report")
    paths = [path for name in folders for path in sorted((output / name).rglob("*"))]
    return {str(p.relative_to(output)): p.read_bytes() for p in paths if p.is_file()}
