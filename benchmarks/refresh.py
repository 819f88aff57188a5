"""Cost of a refresh that has nothing to do, and overhead of one that embeds.

    python benchmarks/refresh.py                        # 1,000, 10,000 and 50,000 shards
    python benchmarks/refresh.py --sizes 1000           # one size
    python benchmarks/refresh.py --removed-per-shard 0  # shards without duplicates
    python benchmarks/refresh.py --sizes 1000 --profile # and where the time goes
    python benchmarks/refresh.py --shards-per-partition 10 100  # of which no event was reported yet

A small real project (60 shards of two photographs) is refreshed first: its ledger entries are the
patterns. The same photographs in one shard and in 60 tell the overhead per shard. Then, for each
size, the state of a finished project is written without any image: tars, ledger entries with the
fingerprints that the stages themselves compute, hard-linked files, arrivals, partitions and
Dagster's materialisation events.
With `--shards-per-partition` nothing is reported yet: the first refresh reports all of it, the
second nothing, and the third one group of each asset and what rests on it, as when a shard comes.
Each measurement runs in a process of its own, on a SQLite instance; a refresh that finds anything
to make or to report is an error.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import logging
import os
import pstats
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import pyarrow as pa
import yaml
from written_tars import write_tar

from curator_assets.cli.plan import planned
from curator_assets.cli.refresh import run
from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.codebook_fit import images_now
from curator_assets.defs.deduplicate.duplicate_groups import DUPLICATE_GROUPS
from curator_assets.defs.deduplicate.duplicate_ids import DUPLICATE_IDS, MAX_LISTED
from curator_assets.defs.embed.arithmetic import RECORD as ARITHMETIC_RECORD
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.engine.dagster.instance_partitions import SHARDS
from curator_assets.engine.encoder import Encoder
from curator_assets.engine.freshness import all_inputs
from curator_assets.engine.partitioning import ALL, Partition, Partitioning
from curator_assets.engine.plan import plan
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.settings_file import load_settings
from curator_assets.storage import layout
from curator_assets.storage.arrivals import record_arrivals
from curator_assets.storage.lease import hold_lease
from curator_assets.storage.ledger import Entry, Ledger, StoredFile
from curator_assets.storage.ledger_snapshot import SETTLED_SECONDS
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.groups import removals_by_shard, removals_version
from curator_assets.storage.tables.parquet import write_table
from curator_assets.storage.versions import hash_of

SEED_SHARDS, SEED_IMAGES = 60, 2
SIZES = (1_000, 10_000, 50_000)
TARGET_SECONDS = {  # of 50,000 a third of what it took without snapshots of the ledger
    ("plan", 1_000): 0.4,
    ("no-op refresh", 1_000): 0.7,
    ("plan", 50_000): 11,
    ("no-op refresh", 50_000): 12,
}
TARGET_MIB = 2048
TARGET_OVERHEAD_MS = 50
EMPTY_TAR = bytes(tarfile.RECORDSIZE)
SEED_PARTITION = {Partitioning.SHARD: "00000", Partitioning.CELL_GROUP: "0000"}
MAX_LINKS = 50_000  # a file has 65,000 names at most
MEASURES = ("plan", "no-op refresh")
FIRST_REPORT, GROUP_AGAIN = "first report", "a group again"
GROUPED_MEASURES = (FIRST_REPORT, "no-op refresh", GROUP_AGAIN)
EVENTS = "instance/history/runs/index.db"  # below a project's folder


@dataclass
class Measured:
    """One measurement in a process of its own.

    Attributes:
        seconds: of the function alone.
        process_seconds: with start, imports and end.
        peak_mib: largest resident memory of the process.
    """

    seconds: float
    process_seconds: float
    peak_mib: float


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument(
        "--removed-per-shard", type=int, default=100, help="duplicates recorded for each shard"
    )
    parser.add_argument("--profile", action="store_true", help="print what took the time")
    parser.add_argument("--folder", type=Path, help="where to work; on a local disk")
    parser.add_argument(
        "--shards-per-partition", type=int, nargs="*", default=[], help="to report by, in turn"
    )
    children = ("embed", "write", "write unreported", *MEASURES, FIRST_REPORT, GROUP_AGAIN)
    parser.add_argument("--child", choices=children, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "embed":
        print(json.dumps(embed_photos(arguments.folder)))
    elif arguments.child == "write":
        write_state(arguments.folder, arguments.sizes[0], arguments.removed_per_shard)
    elif arguments.child == "write unreported":
        n_grouped = arguments.shards_per_partition[0]
        write_state(
            arguments.folder, arguments.sizes[0], arguments.removed_per_shard, n_grouped=n_grouped
        )
    elif arguments.child:
        measure_here(arguments.child, arguments.folder, profile=arguments.profile)
    else:
        with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="refresh-") as folder:
            report(Path(folder), arguments)


def report(folder: Path, arguments: argparse.Namespace) -> None:
    """Print both tables, or that of grouped shards."""
    if arguments.shards_per_partition:
        child("embed", folder / "seed")
        report_grouped(folder, arguments)
        return
    print_overhead(*json.loads(child("embed", folder / "seed").splitlines()[-1]))
    print("| shards | | seconds | target | ms a shard | whole process s | peak MiB | of 2048 |")
    print("|---|---|---|---|---|---|---|---|")
    for n in arguments.sizes:
        size = folder / str(n)
        options = ["--sizes", str(n), "--removed-per-shard", str(arguments.removed_per_shard)]
        child("write", size, *options)
        for what in MEASURES:
            found = measure(what, size, profile=arguments.profile)
            target = TARGET_SECONDS.get((what, n), "-")
            print(
                f"| {n:,} | {what} | {found.seconds:.2f} | {target} "
                f"| {1000 * found.seconds / n:.2f} | {found.process_seconds:.1f} "
                f"| {found.peak_mib:.0f} | {found.peak_mib / TARGET_MIB:.0%} |",
                flush=True,
            )
        subprocess.run(["rm", "-rf", str(size)], check=True)


def report_grouped(folder: Path, arguments: argparse.Namespace) -> None:
    """Print what it costs to report shards that are grouped into partitions."""
    print("| shards | a partition | | seconds | peak MiB | events | event log MiB |")
    print("|---|---|---|---|---|---|---|")
    for n in arguments.sizes:
        for n_grouped in arguments.shards_per_partition:
            size = folder / f"{n}-{n_grouped}"
            options = ["--sizes", str(n), "--removed-per-shard", str(arguments.removed_per_shard)]
            child("write unreported", size, *options, "--shards-per-partition", str(n_grouped))
            for what in GROUPED_MEASURES:
                before = n_events(size), n_log_bytes(size)
                found = measure(what, size, profile=arguments.profile)
                print(
                    f"| {n:,} | {n_grouped} | {what} | {found.seconds:.2f} | {found.peak_mib:.0f} "
                    f"| {n_events(size) - before[0]:,} "
                    f"| {(n_log_bytes(size) - before[1]) / 2**20:.1f} |",
                    flush=True,
                )
            subprocess.run(["rm", "-rf", str(size)], check=True)


def child(what: str, folder: Path, *options: str) -> str:
    """What a process of its own printed; what it logs is shown only if it fails."""
    command = [sys.executable, __file__, "--child", what, "--folder", str(folder), *options]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # or shared cores spin against each other
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
    if done.returncode:
        sys.exit(f"{what} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def measure(what: str, folder: Path, *, profile: bool) -> Measured:
    """Time and memory of a plan or of a refresh of the project in `folder`."""
    started = time.perf_counter()
    *lines, last = child(what, folder, *["--profile"] * profile).splitlines()
    print("\n".join(lines) + "\n" if lines else "", end="")
    return Measured(process_seconds=time.perf_counter() - started, **json.loads(last))


def measure_here(what: str, folder: Path, *, profile: bool) -> None:
    """Do it in this process, and print a line of JSON.

    Raises:
        RuntimeError: something was found stale, or the refresh failed.
    """
    logging.getLogger("dagster").setLevel(logging.WARNING)
    settings = load_settings(folder / "curator.yaml")
    profiler = cProfile.Profile() if profile else None
    with dg.DagsterInstance.local_temp(str(folder / "instance")) as instance:
        if profiler:
            profiler.enable()
        started = time.perf_counter()
        if what == "plan":
            with Store(settings.output).pictured():
                _, work = planned(instance, settings)
                idle = not any(p.stale or p.undecided for p in plan(GRAPH.stages, work))
        elif what in {FIRST_REPORT, GROUP_AGAIN}:
            if what == GROUP_AGAIN:
                forget_last_partition(folder / EVENTS)
            idle = run(instance, settings, force=False)
        else:
            n_before = n_events(folder)
            idle = run(instance, settings, force=False)
        seconds = time.perf_counter() - started
        if what == "no-op refresh":
            idle = idle and n_events(folder) == n_before
    if profiler:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)
    if not idle:
        raise RuntimeError(f"the {what} found something to make: the recorded state is not whole")
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """The largest resident memory of this process (`ru_maxrss` would count its parent's)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) / 1024


def n_events(folder: Path) -> int:
    """How many materialisations the instance of a project knows."""
    with sqlite3.connect(folder / EVENTS) as events:
        query = "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
        return int(events.execute(query).fetchone()[0])


def n_log_bytes(folder: Path) -> int:
    """Bytes of the event log of a project: what is found by asset, and what by run."""
    history = (folder / EVENTS).parent
    return sum(path.stat().st_size for path in history.iterdir() if path.suffix == ".db")


def forget_last_partition(path: Path) -> None:
    """Take away the events of one partition of each asset by shard."""
    with sqlite3.connect(path) as events:
        query = "SELECT max(partition) FROM event_logs WHERE length(partition) > 4"
        (last,) = events.execute(query).fetchone()
        events.execute("DELETE FROM event_logs WHERE partition = ?", [last])


# --- the overhead of a run that embeds


def embed_photos(folder: Path) -> list[float]:
    """Refresh a project of 60 shards of two small photographs, whose state is the pattern.

    Returns:
        Seconds until the same photographs were embedded in one shard, and in 60.
    """
    logging.getLogger("dagster").setLevel(logging.WARNING)
    return [refresh_photos(folder.parent / "one", 1), refresh_photos(folder, SEED_SHARDS)]


def refresh_photos(folder: Path, n_shards: int) -> float:
    """Refresh the photographs in so many shards; how long until all were embedded."""
    settings = write_photos(folder, n_shards)
    Encoder.of(settings).load("float32", "plain")  # before the clock starts
    with dg.DagsterInstance.local_temp(str(folder / "instance")) as instance:
        started = time.time()
        if not run(instance, settings, force=False):
            sys.exit("the refresh of the photographs failed")
        key = dg.AssetKey(IMAGE_EMBEDDINGS.name)
        embedded = instance.fetch_materializations(key, limit=1).records[0].timestamp
    return embedded - started


def write_photos(folder: Path, n_shards: int) -> Settings:
    """120 small photographs in so many tars, and the settings of a project over them.

    Args:
        folder: where to.
        n_shards: divides 120.
    """
    settings = write_settings(folder)
    n_photos = SEED_SHARDS * SEED_IMAGES
    photos = [crop.image.resize((96, 96)) for crop in crops()[:n_photos]]
    each = n_photos // n_shards
    for k in range(n_shards):
        members = dict[str, bytes]()
        for i in range(each):
            data = io.BytesIO()
            photos[(k * each + i) % len(photos)].save(data, "JPEG")
            members[f"{i}.jpg"] = data.getvalue()
        write_tar(folder / "tars" / f"{k:05d}.tar", members.items())
    return settings


def print_overhead(together: float, apart: float) -> None:
    """What a shard costs beside its images."""
    n_photos = SEED_SHARDS * SEED_IMAGES
    each = 1000 * (apart - together) / (SEED_SHARDS - 1)
    print(f"\nembedding {n_photos} small photographs in one run\n")
    print(f"| in 1 shard | in {SEED_SHARDS} shards | a shard more | target |")
    print("|---|---|---|---|")
    print(f"| {together:.2f} s | {apart:.2f} s | {each:.1f} ms | {TARGET_OVERHEAD_MS} ms |\n")


# --- a finished project, without images


def write_settings(folder: Path, n_grouped: int = 1, source: str = "tars") -> Settings:
    """Settings of a project in `folder`, with its folder of tars."""
    (folder / "tars").mkdir(parents=True, exist_ok=True)
    (folder / "instance").mkdir(exist_ok=True)
    chosen = {
        "source": source,
        "output": "curated",
        "shards_per_partition": n_grouped,
        "model": {
            "name": "efficientnet_lite0",
            "pretrained": "imagenet",
            "batch_size": SEED_IMAGES,
            "precision": "float32",
        },
    }
    path = folder / "curator.yaml"
    path.write_text(yaml.safe_dump(chosen))
    return load_settings(path)


def shard_names(n_shards: int) -> list[str]:
    """Of a project of so many shards, by thousands."""
    return [f"{k // 1000:03d}/{k:06d}" for k in range(n_shards)]


def write_empty_tars(folder: Path, n_shards: int) -> None:
    """The tars of so many shards, without images."""
    write_links(folder, (f"{shard}.tar" for shard in shard_names(n_shards)), EMPTY_TAR)


def write_state(
    folder: Path,
    n_shards: int,
    n_removed: int,
    *,
    n_grouped: int | None = None,
    source: str | None = None,
    output: str | None = None,
) -> None:
    """Record everything that a finished project of `n_shards` has on disk.

    Args:
        folder: where to; `seed` beside it holds the refreshed photographs.
        n_shards: how many.
        n_removed: duplicates of each shard.
        n_grouped: shards a partition of a project of which no event was reported; None: each is
            one, and all were.
        source: where the tars lie already; None: they are written to `tars` in the folder.
        output: where what is written to `curated` in the folder will be taken; None: nowhere.
    """
    seed = folder.parent / "seed"
    shutil.copytree(seed / "instance", folder / "instance")
    settings = write_settings(folder, n_grouped or 1, source or "tars")
    shards = shard_names(n_shards)
    if source is None:
        write_empty_tars(folder / "tars", n_shards)
    settings_then = settings.model_copy(update={"output": output or settings.output})
    work = Work(settings_then, tuple(shards), logging.getLogger(__name__))
    vars(work)["store"] = Store(settings.output)
    write_events(folder / EVENTS, shards, reported=n_grouped is None)
    patterns = Ledger(Store(str(seed / "curated")))
    injector = _Injector(work, patterns, n_removed)
    # a refresh waits for the disk with each file; nothing of this has to outlive the machine
    with patch.object(os, "fsync", lambda _: None), hold_lease(work.store, "benchmark"):
        record_arrivals(work.store, shards)
        for device, entry in patterns.read_all(ARITHMETIC_RECORD).items():
            work.ledger.write(ARITHMETIC_RECORD, device, entry)
        injector.tars()
        for stage in GRAPH.stages:
            if not stage.is_optional:
                injector.stage(stage)
        time.sleep(SETTLED_SECONDS)  # or the last entries are left out of the snapshots
        work.remember()


def write_events(path: Path, shards: Sequence[str], *, reported: bool) -> None:
    """Make these the partitions of an instance whose others were made, with copies of the events.

    Rows are written straight to the database: through Dagster an event takes 30 ms.
    """
    with sqlite3.connect(path) as events:
        events.execute(
            "CREATE TEMP TABLE shards AS SELECT partition FROM dynamic_partitions LIMIT 0"
        )
        events.executemany("INSERT INTO shards VALUES (?)", ((shard,) for shard in shards))
        first = f"{0:05d}"  # the events of the first photographs' shard are the patterns
        events.execute(
            "DELETE FROM event_logs WHERE length(partition) = 5 AND partition <> ?", [first]
        )
        columns = "run_id, event, dagster_event_type, timestamp, step_key, asset_key"
        if reported:
            events.execute(
                f"INSERT INTO event_logs ({columns}, partition) SELECT {columns}, shards.partition "
                "FROM event_logs JOIN shards WHERE event_logs.partition = ? "
                "AND dagster_event_type = 'ASSET_MATERIALIZATION'",
                [first],
            )
        events.execute("DELETE FROM event_logs WHERE partition = ?", [first])
        events.execute("DELETE FROM dynamic_partitions")
        events.execute(
            "INSERT INTO dynamic_partitions (partitions_def_name, partition) SELECT ?, partition "
            "FROM shards",
            [SHARDS.name],
        )


def write_links(folder: Path, names: Iterable[str], data: bytes) -> None:
    """The same bytes under many names."""
    first: Path | None = None
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if first is None or i % MAX_LINKS == 0:
            first = path
            path.write_bytes(data)
        else:
            os.link(first, path)


@dataclass
class _Injector:
    """Writes ledger entries, and the files that they vouch for, as if the stages had run.

    Attributes:
        work: of the project that is written.
        patterns: the ledger of a small project that was really made.
        n_removed: duplicates of each shard.
    """

    work: Work
    patterns: Ledger
    n_removed: int

    def tars(self) -> None:
        """Tar versions, as if each tar had been read."""
        self.work.ledger.read_all(TAR_SHARDS.name)  # or each would look for one before it
        for shard, signature in self.work.tars.list_shards().items():
            entry = Entry(str(signature), data_version=_tar_version(shard))
            self.work.ledger.write(TAR_SHARDS.name, shard, entry)

    def stage(self, stage: Stage) -> None:
        """All partitions of a stage, with the fingerprints that it expects."""
        partitions = self.work.partitions(stage)
        self.work.ledger.read_all(stage.name)
        seed = SEED_PARTITION.get(stage.by, ALL)
        pattern = self.patterns.read(stage.name, seed or None)
        assert pattern is not None
        files = self._files(stage, seed, partitions, pattern)
        metadata = self._metadata(stage, seed)
        for partition in partitions:
            inputs = stage.inputs(self.work, partition)
            if inputs is None:  # image_embeddings tells its inputs only once it was made
                inputs = {**pattern.inputs, TAR_SHARDS.name: _tar_version(partition)}
            inputs = all_inputs(stage, self.work, inputs)
            entry = replace(
                pattern,
                fingerprint=hash_of(inputs),
                data_version=hash_of(stage.name, partition),
                inputs=inputs,
                files={_rename(name, seed, partition): file for name, file in files.items()},
                state=self._state(stage, partition, pattern),
            )
            self.work.ledger.write(stage.name, partition or None, entry, metadata)
        self.work.forget()

    def _files(
        self, stage: Stage, seed: Partition, partitions: Sequence[Partition], pattern: Entry
    ) -> dict[str, StoredFile]:
        """What the pattern's files hold here; those of all partitions are links to one."""
        store = self.work.store
        if stage is DUPLICATE_GROUPS:
            write_table(store, layout.DUPLICATE_GROUPS, self._groups(), schemas.DUPLICATE_GROUPS)
            return {layout.DUPLICATE_GROUPS: store.hash(layout.DUPLICATE_GROUPS)}
        for name in pattern.files:
            named = (_rename(name, seed, partition) for partition in partitions)
            write_links(Path(store.root), named, b"recorded")
        return {name: store.hash(_rename(name, seed, partitions[0])) for name in pattern.files}

    def _metadata(self, stage: Stage, seed: Partition) -> dict[str, Any]:
        """What was reported of the pattern, with as much about duplicates as there are here."""
        metadata = self.patterns.read_metadata(stage.name, seed or None)
        if stage is DUPLICATE_IDS:
            shard = self.work.shards[0]
            rows = [_removed(shard, i) for i in range(min(self.n_removed, MAX_LISTED))]
            metadata |= {"removals": rows}
        return metadata

    def _groups(self) -> pa.Table:
        rows = [_removed(shard, i) for shard in self.work.shards for i in range(self.n_removed)]
        shards = [shard for shard in self.work.shards for _ in range(self.n_removed)]
        positions = list(range(self.n_removed)) * len(self.work.shards)
        columns = {name: [row[name] for row in rows] for name in schemas.DUPLICATE_IDS.names}
        kept = {"kept_shard": ["000/000000"] * len(rows), "kept_position": positions}
        return pa.table({"shard": shards, "position": positions} | columns | kept)

    def _state(self, stage: Stage, partition: Partition, pattern: Entry) -> dict[str, Any]:
        """What the stage wants to know next time, of a shard with images in every cell group."""
        state = dict(pattern.state)
        if stage is IMAGE_EMBEDDINGS:
            state["tar"] = _tar_version(partition)
        if stage is CENTROIDS:
            state["n_images"] = images_now(self.work)[1]
        if stage is CLUSTER_ASSIGNMENTS:
            n_groups = self.work.settings.clusters.n_cell_groups
            state["groups"] = {str(g): hash_of(partition, g) for g in range(n_groups)}
        if stage is DUPLICATE_GROUPS:
            made = self.work.made_shards(IMAGE_EMBEDDINGS)
            state["shards"] = [[shard, entry.data_version] for shard, entry in made.items()]
            removals = removals_by_shard([self._groups().cast(schemas.DUPLICATE_GROUPS)])
            state["removals"] = {shard: removals_version(table) for shard, table in removals}
        return state


def _tar_version(shard: str) -> str:
    return hash_of(shard)


def _rename(name: str, old: Partition, new: Partition) -> str:
    return name.replace(f"/{old}.", f"/{new}.") if old else name


def _removed(shard: str, position: int) -> dict[str, Any]:
    """A row of `duplicate_ids`."""
    kept = f"000/000000/{position:09d}"
    return {"id": f"{shard}/{position:09d}", "kept_id": kept, "cosine": 0.985}


if __name__ == "__main__":
    main()
