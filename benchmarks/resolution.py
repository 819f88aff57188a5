"""Time and memory of the resolution, without any image, against that of commit ec6eae3.

    git worktree add /tmp/before ec6eae3
    python benchmarks/resolution.py --before /tmp/before         # 1 M samples, .3 pairs each
    python benchmarks/resolution.py --samples 16000000 --keep best
    python benchmarks/resolution.py --shape chain                # every image near the next one
    python benchmarks/resolution.py --shape group                # all images near the first one

The tables of an embedded and searched project are written to a temporary folder: embeddings
without vectors, cells and pairs. Each commit then resolves them in a process of its own, from what
is stored to the table of groups. Memory is the peak beyond what the process held after its
imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from resolution_cost import FOLDER, Measured, settings_in
from search_cost import print_heads, print_row

from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.arrivals import record_arrivals
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.pair_tables import RowNumbers
from curator_assets.storage.tables.parquet import write_table

SHARD_ROWS = 10_000
PAIRS_A_SAMPLE = 0.3
N_CELLS = 64

Array = NDArray[Any]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--shape", choices=["random", "chain", "group"], default="random")
    parser.add_argument("--keep", nargs="+", default=["first"], help="duplicates.keep")
    parser.add_argument("--rule", default="greedy", help="duplicates.rule")
    parser.add_argument("--before", type=Path, help="a checkout of ec6eae3")
    parser.add_argument("--folder", type=Path, help="to write to, and to leave it there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="resolution-") as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / FOLDER).exists():
            write_project(folder, args.samples // SHARD_ROWS, args.shape)
        print(f"\n## {args.samples:,} samples, {args.shape}, {args.rule}\n")
        print_heads("keep", "commit", "s", "MiB", "B an image", "removed", "groups", "same")
        for keep in args.keep:
            decide(folder, keep, args)


def decide(folder: Path, keep: str, args: argparse.Namespace) -> None:
    """Print what each commit takes to resolve the project."""
    here = Path(__file__).parent
    children = [("now", here / "resolution_now.py", here.parent)]
    if args.before:
        children.append(("before", here / "resolution_before.py", args.before))
    digests = set[str]()
    for name, script, package in children:
        environment = os.environ | {"PYTHONPATH": str(package)}
        command = [sys.executable, str(script), str(folder), keep, args.rule]
        found = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        told = Measured(**json.loads(found.stdout))
        digests.add(told.digest)
        print_row(
            keep,
            name,
            f"{told.seconds:.1f}",
            f"{told.mib:.0f}",
            f"{told.mib * 2**20 / args.samples:.1f}",
            f"{told.n_removed:,}",
            f"{told.n_groups:,}",
            {1: "" if name == "now" else "bit for bit", 2: "NO"}[len(digests)],
        )


def write_project(folder: Path, n_shards: int, shape: str) -> None:
    """Write the tables of a project that is embedded and searched."""
    settings = Settings.model_validate(settings_in(folder, "first", "greedy"))
    store, rng = Store(settings.output), np.random.default_rng(0)
    shards = [f"crawl{i % 20:02d}/{i:05d}" for i in range(n_shards)]
    record_arrivals(store, shards)
    for shard in shards:
        write_samples(store, shard, rng)
    numbers = RowNumbers(dict.fromkeys(shards, SHARD_ROWS))
    n_groups = settings.clusters.n_cell_groups
    parts = pairs_of_shape(shape, numbers.n_rows, n_groups, rng)
    for group, (a, b) in enumerate(parts):
        name = f"{group:04d}"
        write_table(store, layout.pairs(name), pair_table(numbers, a, b, rng), schemas.PAIRS)
        empty = schemas.DENSE_MEMBERS.empty_table()
        write_table(store, layout.dense_members(name), empty, schemas.DENSE_MEMBERS)


def write_samples(store: Store, shard: str, rng: np.random.Generator) -> None:
    """Embeddings without vectors, and cells, of a shard."""
    n = SHARD_ROWS
    keys = [f"{i:09d}" for i in range(n)]
    ids = [f"{shard}/{key}" for key in keys]
    digits = rng.bytes(16 * n).hex()
    hashes = [digits[i : i + 32] for i in range(0, len(digits), 32)]
    hashes[:20] = [f"{i:032x}" for i in range(20)]  # bytes that every shard has
    width, height = rng.integers(64, 2500, size=(2, n), dtype=np.int32)
    schema = schemas.embeddings(8, "float32")
    columns = {field.name: pa.nulls(n, field.type) for field in schema}
    columns |= {
        "image_id": pa.array(ids),
        "shard": pa.array([shard] * n),
        "key": pa.array(keys),
        "position": pa.array(np.arange(n, dtype=np.int32)),
        "n_images": pa.array(np.ones(n, np.int32)),
        "width": pa.array(width),
        "height": pa.array(height),
        "n_bytes": pa.array(rng.integers(5_000, 900_000, size=n)),
        "content_hash": pa.array(hashes),
        "sharpness": pa.array(rng.random(n).astype(np.float32)),
    }
    write_table(store, layout.embeddings(shard), pa.table(columns), schema)
    cells = {
        "image_id": ids,
        "shard": [shard] * n,
        "position": np.arange(n, dtype=np.int32),
        "cell": rng.integers(N_CELLS, size=n, dtype=np.int32),
        "centroid_cosine": rng.random(n).astype(np.float32),
        "visits": pa.array([[]] * n, pa.list_(pa.int32())),
    }
    write_table(store, layout.assignments(shard), pa.table(cells), schemas.ASSIGNMENTS)


def pairs_of_shape(
    shape: str, n_rows: int, n_groups: int, rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Rows int64 (a, b), a < b, of each cell group's pairs."""
    for group in range(n_groups):
        if shape == "random":
            a = rng.integers(n_rows, size=int(PAIRS_A_SAMPLE * n_rows / n_groups))
            near = rng.random(len(a)) < 0.7
            b = np.where(
                near, a + 1 + rng.geometric(0.02, size=len(a)), rng.integers(n_rows, size=len(a))
            )
            apart = (a != b) & (b < n_rows)
            yield np.minimum(a, b)[apart], np.maximum(a, b)[apart]
        else:
            b = np.arange(1 + group, n_rows, n_groups)
            yield (b - 1 if shape == "chain" else np.zeros_like(b)), b


def pair_table(numbers: RowNumbers, a: Array, b: Array, rng: np.random.Generator) -> pa.Table:
    """A table of `near_duplicate_pairs`, some of them identical."""
    (shard_a, position_a), (shard_b, position_b) = numbers.names(a), numbers.names(b)
    identical = rng.random(len(a)) < 0.02
    columns = {
        "shard_a": shard_a,
        "position_a": position_a,
        "shard_b": shard_b,
        "position_b": position_b,
        "cosine": np.where(identical, 1, rng.uniform(0.95, 1, size=len(a))).astype(np.float32),
        "cell": np.zeros(len(a), np.int32),
        "identical": identical,
    }
    return pa.table(columns)


if __name__ == "__main__":
    main()
