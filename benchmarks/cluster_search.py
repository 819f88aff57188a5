"""The pair search over Ray and on one machine: equal files, and what a worker takes of memory.

    python benchmarks/cluster_search.py                     # 262,144 images x 768, 2 workers
    python benchmarks/cluster_search.py --images 1048576    # what the machine holds

Vectors as `near_duplicates.py` draws them are embedded without images, assigned, and searched here;
then all cell groups are searched again from scratch by the workers of a Ray cluster of this
machine. The files have to be the same, byte for byte. A worker's memory is read from outside, ten
times a second: what no file stands behind, above what it took with all libraries loaded. Its bound
is `duplicates.search_memory_gib`, pairs not counted.

Listen to nobody else: `unshare -n` gives it a network of its own, of which `lo` has to be up.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
from search_cost import write_settings
from search_now import work_on, write
from synthetic_vectors import clip_like

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.cluster.ray_cluster import opened_cluster
from curator_assets.engine.making import make
from curator_assets.engine.stage import Failed, Finished, Made, Stage
from curator_assets.engine.work import Work
from curator_assets.settings import RayClusterSettings

WIDTH, SHARD_ROWS, MAX_EPS, N_WORKERS = 768, 8192, 0.05, 2
SECONDS_BETWEEN_LOOKS = 0.1


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1 << 18)
    parser.add_argument("--groups", type=int, default=16, help="cell groups")
    parser.add_argument("--memory-gib", type=float, default=0.5, help="search_memory_gib")
    parser.add_argument("--folder", type=Path, help="where to work; on a local disk")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="cluster-search-") as name:
        folder = Path(name)
        write_settings(
            folder,
            MAX_EPS,
            clusters={"n_cell_groups": arguments.groups},
            duplicates={"search_memory_gib": arguments.memory_gib, "recall_queries": 0},
        )
        shards = embed(folder, arguments.images)
        work = work_on(folder, shards)
        for stage in (CENTROIDS, CLUSTER_ASSIGNMENTS):
            made(stage, work)
        took = made(NEAR_DUPLICATE_PAIRS, work)
        print(f"{arguments.images:,} images, here: {took:.1f} s", flush=True)
        here = files(folder)
        search_over_ray(folder, shards, arguments.memory_gib)
        there = files(folder)
        assert here.keys() == there.keys()
        differing = [name for name in here if here[name] != there[name]]
        print(f"{len(here)} files, {len(differing)} differ")
        assert not differing


def embed(folder: Path, n_images: int) -> list[str]:
    """Write the embeddings; the names of the shards."""
    vectors = clip_like(n_images, WIDTH, 0)
    starts = range(0, n_images, SHARD_ROWS)
    shards = {f"{i:05d}": vectors[at : at + SHARD_ROWS] for i, at in enumerate(starts)}
    write(folder, shards)
    return list(shards)


def made(stage: Stage, work: Work) -> float:
    """Seconds that it takes to make a stage."""
    started = time.perf_counter()
    for outcome in make(stage, work.partitions(stage), work):
        assert not isinstance(outcome, Failed), outcome
    return time.perf_counter() - started


def files(folder: Path) -> dict[str, bytes]:
    """Name -> content of what the search made."""
    found = sorted((folder / "curated/duplicates").rglob("*.parquet"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def search_over_ray(folder: Path, shards: list[str], memory_gib: float) -> None:
    """Search all groups from scratch on two workers; print what it took."""
    work = work_on(folder, shards)
    settings = work.settings.model_copy(
        update={"cluster": RayClusterSettings(ray="local", worker_cpus=1)}
    )
    peaks, bases, ended = dict[int, int](), dict[int, int](), threading.Event()
    watching = threading.Thread(target=watch, args=(bases, peaks, ended))
    with opened_cluster(GRAPH, settings, work.log) as cluster:
        assert cluster is not None
        work = replace(work, settings=settings, cluster=cluster, is_forced=True)
        while not cluster.where().startswith(f"{N_WORKERS} workers"):
            list(cluster.spread(load, work, [str(i) for i in range(4 * N_WORKERS)]))
        watching.start()
        time.sleep(10 * SECONDS_BETWEEN_LOOKS)
        took = made(NEAR_DUPLICATE_PAIRS, work)
    ended.set()
    watching.join()
    above = [(peaks[pid] - bases[pid]) / 2**30 for pid in peaks]
    shown = ", ".join(f"{gib:.2f}" for gib in above)
    print(
        f"over Ray: {took:.1f} s; GiB of workers above what they took before: {shown} "
        f"(bound {memory_gib:g}, pairs not counted)",
        flush=True,
    )


def load(_: Work, partitions: Iterator[str]) -> Iterator[Finished]:
    """A job that does nothing, with the libraries of a search."""
    import faiss  # noqa: F401

    from curator_assets.kernels import join, pairs  # noqa: F401

    for partition in partitions:
        time.sleep(0.2)
        yield Finished(Made(partition, {}, files=()), {})


def watch(bases: dict[int, int], peaks: dict[int, int], ended: threading.Event) -> None:
    """Note the memory of each actor of this process, at first and at most."""
    me = psutil.Process()
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        for process in me.children(recursive=True):
            try:
                if process.name().startswith("ray::Actor"):
                    used = process.memory_full_info().uss
                    bases.setdefault(process.pid, used)
                    peaks[process.pid] = max(used, peaks.get(process.pid, 0))
            except psutil.Error:
                continue


if __name__ == "__main__":
    main()
