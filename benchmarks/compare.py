"""Time and memory of `curate compare` over a million synthetic rows, without any image.

    python benchmarks/compare.py                                # 100 shards of 10,000 rows
    python benchmarks/compare.py --shards 1000 --pairs 20000000

The tables of a finished project are those of `report.py`; here they are recorded in the ledger as
well, so that the command takes them for made. The second settings have another eps and policy and
another filter.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from report import N_CELL_GROUPS, N_CELLS, parse_arguments, shard_names, write_project

from curator_assets.defs.deduplicate.duplicate_groups import DUPLICATE_GROUPS
from curator_assets.defs.embed.arithmetic import ARITHMETIC
from curator_assets.defs.embed.embedding_weights import WEIGHTS, weights_in_force
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.freshness import all_inputs
from curator_assets.engine.stage import Stage, ancestors
from curator_assets.engine.work import Purpose, Work
from curator_assets.settings_file import load_settings
from curator_assets.storage.lease import hold_lease
from curator_assets.storage.ledger import Entry
from curator_assets.storage.versions import hash_of

MODEL = {"name": "efficientnet_lite0", "pretrained": "imagenet", "device": "cpu"}
LIGHT = {"score": "mean_luminance", "min": 0.07, "max": 0.97}
FIRST = {"filters": [LIGHT], "duplicates": {"eps": 0.03, "keep": "first"}}
SECOND = {
    "filters": [LIGHT, {"score": "width", "min": 128}],
    "duplicates": {"eps": 0.05, "keep": "best"},
}


def main() -> None:
    """The command line."""
    arguments = parse_arguments(__doc__)
    if arguments.folder:
        write(arguments.folder, arguments.shards, arguments.rows, arguments.pairs)
        return
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        # by another process: a command starts with the peak of the one that starts it
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--folder", name], check=True)
        measure(Path(name))
        measure(Path(name), "--csv", "changed.csv")
        with Path(name, "changed.csv").open() as file:
            print(f"{sum(1 for _ in file) - 1:,} changed images in changed.csv")


def write(folder: Path, n_shards: int, n_rows: int, n_pairs: int) -> None:
    """The finished project, and both settings."""
    write_project(folder, n_shards, n_rows, n_pairs)
    first = write_settings(folder, "first", FIRST)
    write_settings(folder, "second", SECOND)
    record(first, n_shards, n_rows)


def write_settings(folder: Path, name: str, chosen: dict[str, Any]) -> Path:
    """A settings file of the project in `folder`."""
    path = folder / f"{name}.yaml"
    clusters = {"n_clusters": N_CELLS, "n_cell_groups": N_CELL_GROUPS}
    common = {"source": "tars", "output": "curated", "model": MODEL, "clusters": clusters}
    path.write_text(yaml.safe_dump(common | chosen))
    return path


def record(path: Path, n_shards: int, n_rows: int) -> None:
    """Write ledger entries of all that verdicts rest on, as if the stages had run."""
    work = Work(
        load_settings(path),
        tuple(shard_names(n_shards)),
        logging.getLogger(__name__),
        purpose=Purpose.LOOK,
    )
    states: dict[str, dict[str, Any]] = {
        "image_embeddings": {"n_samples": n_rows, "n_unreadable": 0, "tar": "recorded"},
        "centroids": {"n_images": n_shards * n_rows},
        "cluster_assignments": {
            "n_cell_groups": N_CELL_GROUPS,
            "groups": {str(group): str(group) for group in range(N_CELL_GROUPS)},
        },
    }
    with hold_lease(work.store, "benchmark"):
        for stage in GRAPH.stages:
            if stage in ancestors(DUPLICATE_GROUPS):
                record_stage(stage, work, states.get(stage.name, {}))
                work.forget()


def record_stage(stage: Stage, work: Work, state: dict[str, Any]) -> None:
    """Entries of all partitions; a file that no comparison reads may be empty."""
    for partition in work.partitions(stage):
        inputs = stage.inputs(work, partition)
        if stage is IMAGE_EMBEDDINGS:  # it tells its inputs only once it was made
            version = hash_of(partition)
            weights = weights_in_force(work)
            inputs = {WEIGHTS: weights, ARITHMETIC: "recorded", TAR_SHARDS.name: version}
        inputs = all_inputs(stage, work, inputs or {})
        for name in stage.files(partition):
            if work.store.size(name) is None:
                with work.store.write(name):
                    pass
        files = {name: work.store.hash(name) for name in stage.files(partition)}
        version = hash_of(stage.name, partition)
        work.ledger.write(
            stage.name,
            partition or None,
            Entry(hash_of(inputs), version, inputs=inputs, files=files, state=state),
        )


def measure(folder: Path, *options: str) -> None:
    """Run the command on both settings, and print what it printed and what it cost."""
    words = ["compare", "first.yaml", "second.yaml", *options]
    command = [sys.executable, "-m", "curator_assets", *words]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{words} failed")
    seconds, peak = time.perf_counter() - started, used.ru_maxrss / 2**10
    cpu = used.ru_utime + used.ru_stime
    print(f"\n{words}: {seconds:.1f} s, {cpu:.1f} s of CPU, peak {peak:.0f} MiB\n", flush=True)


if __name__ == "__main__":
    main()
