"""Time and memory of the report over a million synthetic rows, without any image.

    python benchmarks/report.py                               # 100 shards of 10,000 rows
    python benchmarks/report.py --shards 1000 --pairs 10000000

The tables of a finished project are written to a temporary folder: embeddings without vectors,
scores, cells, random near-duplicate pairs, and the groups and verdicts that follow from them. The
report is then made in a process of its own. There are no tars, so its galleries hold placeholders
and it says so.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curator_assets.defs.deduplicate.resolver import Resolver
from curator_assets.defs.deduplicate.stored_pairs import StoredPairs
from curator_assets.defs.filter.sample_rules import read_samples_table
from curator_assets.defs.output.verdicts import verdict_table
from curator_assets.report import report as report_module
from curator_assets.report.numbers.given import Given, present_minute
from curator_assets.report.report import make_report
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.arrivals import record_arrivals
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.groups import StoredRemovals, written_groups
from curator_assets.storage.tables.pair_tables import RowNumbers
from curator_assets.storage.tables.parquet import count_rows, write_table

N_CELLS, WIDTH, N_CELL_GROUPS = 2048, 512, 16
STEPS = ("duplicate_tables", "count_samples", "report_numbers", "report_pictures", "render_page")
FORMATS = np.array(["jpeg", "png", "webp"])
WORDS = np.array([f"{word:04x}" for word in range(2**16)])


def main() -> None:
    """The command line."""
    arguments = parse_arguments(__doc__)
    if arguments.folder:
        measure(arguments.folder, arguments.shards)
        return
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        write_project(Path(folder), arguments.shards, arguments.rows, arguments.pairs)
        command = [sys.executable, __file__, "--folder", folder, "--shards", str(arguments.shards)]
        subprocess.run(command, check=True)


def parse_arguments(about: str) -> argparse.Namespace:
    """How much to make up, and where it is once it is made."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--rows", type=int, default=10_000, help="of a shard")
    parser.add_argument("--pairs", type=int, default=2_000_000, help="near-duplicate pairs")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def settings_in(folder: Path) -> Settings:
    """A project with a head, three filters and room to try a larger eps."""
    return Settings.model_validate(
        {
            "source": str(folder / "tars"),
            "output": str(folder / "curated"),
            "model": {"device": "cpu"},
            "heads": {"aesthetic": {"weights": "none.pt"}},
            "filters": [
                {"score": "aesthetic", "min": 4.0},
                {"score": "mean_luminance", "min": 0.07, "max": 0.97},
                {"score": "width", "min": 128},
            ],
            "clusters": {"n_cell_groups": N_CELL_GROUPS},
        }
    )


def shard_names(n_shards: int) -> list[str]:
    """Twenty folders of shards."""
    return [f"crawl{i % 20:02d}/{i:05d}" for i in range(n_shards)]


def cell_groups() -> list[str]:
    """The partitions of the pairs."""
    return [f"{group:04d}" for group in range(N_CELL_GROUPS)]


def given_in(folder: Path, n_shards: int) -> Given:
    """What the report is made from."""
    settings = settings_in(folder)
    store, shards = Store(settings.output), shard_names(n_shards)
    n_rows = {shard: count_rows(store, layout.embeddings(shard)) for shard in shards}
    stored = StoredPairs(store, n_rows, cell_groups())
    resolver = Resolver(stored, settings)
    return Given(
        settings=settings,
        store=store,
        tars=Source(settings.source),
        shards=shards,
        behind=[],
        n_taking_part=resolver.n_taking_part,
        row_numbers=stored.numbers,
        resolver=resolver,
        why_not=None,
        verdict_files=[],
        model="synthetic",
        calibration=None,
        why_no_calibration="there are no images",
        recall=None,
        made_at=present_minute(),
        not_taken={},
        left_out={},
        n_unseen_images=0,
    )


def measure(folder: Path, n_shards: int) -> None:
    """Make the report and print what it cost."""
    for step in STEPS:
        setattr(report_module, step, timed(getattr(report_module, step)))
    report = timed(make_report)(timed(given_in)(folder, n_shards))
    size = (folder / "curated" / layout.REPORT).stat().st_size
    print(f"samples            {report.summary['n_samples']:,}")
    print(f"duplicates         {report.summary['n_duplicates']:,}")
    print(f"images absent      {report.n_missing:,}")
    print(f"page               {size / 1e6:.2f} MB")


def timed(step: Callable[..., Any]) -> Callable[..., Any]:
    """The same step, which prints what it took and the process's peak after it."""

    def run(*arguments: Any) -> Any:
        started, cpu = time.perf_counter(), time.process_time()
        made = step(*arguments)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"{step.__name__:18} {seconds:6.1f} s, {cpu:6.1f} s of CPU, peak {peak:5.0f} MiB")
        return made

    return run


def write_project(folder: Path, n_shards: int, n_rows: int, n_pairs: int) -> None:
    """Write the tables of a finished project."""
    settings = settings_in(folder)
    store, shards = Store(settings.output), shard_names(n_shards)
    record_arrivals(store, shards)
    rng = np.random.default_rng(0)
    for shard in shards:
        write_samples(store, shard, n_rows, rng)
    centroids = rng.normal(size=(N_CELLS, WIDTH))
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    with store.write(layout.CENTROIDS) as file:
        np.save(file, centroids.astype(np.float32))
    numbers = RowNumbers(dict.fromkeys(shards, n_rows))
    for group in cell_groups():
        table = random_pairs(numbers, n_pairs // N_CELL_GROUPS, rng)
        write_table(store, layout.pairs(group), table, schemas.PAIRS)
        empty = schemas.DENSE_MEMBERS.empty_table()
        write_table(store, layout.dense_members(group), empty, schemas.DENSE_MEMBERS)
    stored = StoredPairs(store, dict.fromkeys(shards, n_rows), cell_groups())
    with written_groups(store) as groups:
        for removed in Resolver(stored, settings).removals(settings.duplicates.eps):
            groups.append(removed)
    removals = StoredRemovals(store)
    for shard in shards:
        samples = read_samples_table(store, shard, settings)
        table = verdict_table(samples, removals.of(shard), settings)
        write_table(store, layout.curated_table(shard), table, schemas.curated(settings.columns))


def write_samples(store: Store, shard: str, n: int, rng: np.random.Generator) -> None:
    """Embeddings without vectors, scores and cells of a shard."""
    readable = rng.random(n) > 0.005
    absent = ~readable
    keys = [f"{i:09d}" for i in range(n)]
    ids = [f"{shard}/{key}" for key in keys]
    width, height = rng.integers(64, 2500, size=(2, n), dtype=np.int32)
    hashes = ["".join(row) for row in WORDS[rng.integers(2**16, size=(n, 8))]]
    schema = schemas.embeddings(8, "float32")
    columns = {
        "image_id": ids,
        "shard": [shard] * n,
        "key": keys,
        "position": np.arange(n, dtype=np.int32),
        "ext": ["jpg"] * n,
        "n_images": np.ones(n, np.int32),
        "embedding": pa.nulls(n, schema.field("embedding").type),
        "width": pa.array(width, mask=absent),
        "height": pa.array(height, mask=absent),
        "n_bytes": rng.integers(5_000, 900_000, size=n),
        "content_hash": hashes,
        "format": pa.array(FORMATS[rng.integers(3, size=n)], mask=absent),
        "aspect_ratio": pa.array((width / height).astype(np.float32), mask=absent),
        "mean_luminance": pa.array(rng.beta(3, 3, size=n).astype(np.float32), mask=absent),
        "sharpness": pa.array(rng.lognormal(6, 1, size=n).astype(np.float32), mask=absent),
        "constant_rows_fraction": pa.array(np.zeros(n, np.float32), mask=absent),
        "has_alpha": pa.array(np.zeros(n, bool), mask=absent),
        "error": pa.array(np.full(n, "truncated"), mask=readable),
    }
    write_table(store, layout.embeddings(shard), pa.table(columns), schema)
    aesthetic = pa.array(rng.normal(5, 0.8, size=n).astype(np.float32), mask=absent)
    scores = pa.table({"image_id": ids, "shard": [shard] * n, "aesthetic": aesthetic})
    write_table(store, layout.scores(shard), scores, schemas.scores(("aesthetic",)))
    rows = np.flatnonzero(readable)
    cell = (rng.random(len(rows)) ** 2 * N_CELLS).astype(np.int32)
    cells = {
        "image_id": pa.array(ids).take(rows),
        "shard": [shard] * len(rows),
        "position": rows.astype(np.int32),
        "cell": cell,
        "centroid_cosine": np.full(len(rows), 0.8, np.float32),
        "visits": pa.array([[]] * len(rows), pa.list_(pa.int32())),
    }
    write_table(store, layout.assignments(shard), pa.table(cells), schemas.ASSIGNMENTS)


def random_pairs(numbers: RowNumbers, n: int, rng: np.random.Generator) -> pa.Table:
    """Pairs of images not far from each other, so that there are groups of many sizes."""
    a = rng.integers(numbers.n_rows, size=n)
    b = np.minimum(a + 1 + rng.geometric(0.01, size=n), numbers.n_rows - 1)
    apart = a != b
    shard_a, position_a = numbers.names(a[apart])
    shard_b, position_b = numbers.names(b[apart])
    columns = {
        "shard_a": shard_a,
        "position_a": position_a,
        "shard_b": shard_b,
        "position_b": position_b,
        "cosine": rng.uniform(0.95, 1, size=int(apart.sum())).astype(np.float32),
        "cell": np.zeros(int(apart.sum()), np.int32),
        "identical": np.zeros(int(apart.sum()), bool),
    }
    return pa.table(columns)


if __name__ == "__main__":
    main()
