"""What spreading work over Ray costs: efficiency by workers, the driver's share, its ceiling.

    python benchmarks/cluster.py                    # 1, 2, 4 and 8 workers on this machine
    python benchmarks/cluster.py --workers 1 2      # fewer
    python benchmarks/cluster.py --seconds 2        # a shard takes so long, asleep

A shard is a sleep, so that the workers need no cores and their number is not bound by this machine.
Time counts from when all workers have joined: a warm-up spread sees to that.

- Efficiency: the time that the sleeps take, divided among the workers, by the time that it took.
- The driver's CPU a shard: of its process, Ray's threads in it included.
- Its ceiling: shards a second of jobs that do nothing, and with each recorded in the ledger of a
  project on disk, as a refresh does it, but for Dagster's events.

Listen to nobody else: `unshare -n` gives it a network of its own, of which `lo` has to be up.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from curator_assets.defs.stages import GRAPH
from curator_assets.engine.cluster.ray_cluster import RayCluster, opened_cluster
from curator_assets.engine.stage import Finished, Made
from curator_assets.engine.work import Work
from curator_assets.settings_file import load_settings
from curator_assets.storage.ledger import Entry

WORKERS = (1, 2, 4, 8)
SHARDS_A_WORKER = 8
TARGET = 0.95


def sleep(work: Work, partitions: Iterator[str], *, seconds: float) -> Iterator[Any]:
    """The job: each partition is a sleep."""
    for partition in partitions:
        time.sleep(seconds)
        yield Finished(Made(partition, {}, files=()), {})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--seconds", type=float, default=2.0, help="that a shard takes")
    parser.add_argument("--fed", type=int, default=2000, help="shards that take no time")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    import ray

    ray.init(
        "local",
        num_cpus=max(arguments.workers),
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        object_store_memory=128 << 20,
    )
    print("| workers | shards | seconds | efficiency | driver CPU ms a shard |")
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        for n in arguments.workers:
            work = project(Path(name) / str(n), max(arguments.workers) // n)
            with opened_cluster(GRAPH, work.settings, work.log) as cluster:
                assert cluster is not None
                wait_for(cluster, work, n)
                measure(cluster, work, n, arguments.seconds)
                if n == max(arguments.workers):
                    measure_fed(cluster, work, arguments.fed)
    ray.shutdown()


def project(folder: Path, n_cpus: int) -> Work:
    """A project without tars, on a cluster whose workers have so many of its cores."""
    (folder / "tars").mkdir(parents=True)
    settings = {
        "source": "tars",
        "output": "curated",
        "model": {"name": "efficientnet_lite0", "pretrained": "imagenet"},
        "cluster": {"ray": "local", "worker_cpus": n_cpus},
    }
    (folder / "curator.yaml").write_text(yaml.safe_dump(settings))
    log = logging.getLogger("benchmark")
    return Work(load_settings(folder / "curator.yaml"), (), log)


def wait_for(cluster: RayCluster, work: Work, n_workers: int) -> None:
    """Return once so many workers have joined."""
    job = partial(sleep, seconds=0.2)
    while not cluster.where().startswith(f"{n_workers} worker"):
        list(cluster.spread(job, work, [f"warm-up {i}" for i in range(4 * n_workers)]))


def measure(cluster: RayCluster, work: Work, n_workers: int, seconds: float) -> None:
    """Print a row."""
    shards = [str(i) for i in range(SHARDS_A_WORKER * n_workers)]
    cpu, started = time.process_time(), time.perf_counter()
    outcomes = list(cluster.spread(partial(sleep, seconds=seconds), work, shards))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert len(outcomes) == len(shards)
    efficiency = seconds * SHARDS_A_WORKER / took
    missed = "" if efficiency >= TARGET else f" (target {TARGET})"
    print(
        f"| {n_workers} | {len(shards)} | {took:.1f} | {efficiency:.3f}{missed} "
        f"| {1000 * cpu / len(shards):.1f} |",
        flush=True,
    )


def measure_fed(cluster: RayCluster, work: Work, n_shards: int) -> None:
    """Print how many shards a second a driver hands out and hears of."""
    shards = [f"{i:06d}" for i in range(n_shards)]
    for what, does_record in (("handed out and heard", False), ("and recorded on disk", True)):
        cpu, started = time.process_time(), time.perf_counter()
        for outcome in cluster.spread(partial(sleep, seconds=0), work, shards):
            if does_record:
                entry = Entry(outcome.partition, "", {"tar": "sha256:0"}, {})
                work.ledger.write("benchmark", outcome.partition, entry, {"rows": 1})
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(
            f"\n{n_shards} shards that take no time, {what}: {n_shards / took:.0f} a second, "
            f"{1000 * cpu / n_shards:.2f} ms of the driver's CPU each",
            flush=True,
        )


if __name__ == "__main__":
    main()
