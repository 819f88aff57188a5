"""`make demo`: sample tars, every asset, and what was found against what was planted."""

import os
import shlex
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

from curator_assets.defs.stages import GRAPH
from curator_assets.demo.samples import make_shards, write_truth
from curator_assets.demo.summary import print_summary
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import cell_group_names
from curator_assets.settings import Settings, load_settings
from curator_assets.storage.shards.source import Source

N_PHOTOGRAPHS = 313


def main() -> None:
    """Make the sample tars, materialise every asset as a user would, and print the summary."""
    settings = load_settings()
    source, truth = Path(settings.source), Path(settings.source).parent / "truth.json"
    print(f"Sample tars with planted cases go to {source}")
    write_truth(truth, make_shards(source, n_samples=N_PHOTOGRAPHS, seed=0))
    started = time.monotonic()
    log = Path(settings.output).parent / "demo.log"
    with log.open("w") as file:
        for selection in selections():
            _materialize(selection, settings, file.fileno(), log)
    print(f"All assets are materialised after {time.monotonic() - started:.0f} s; log: {log}\n")
    matches = print_summary(settings, truth)
    print("\nOpen the UI with `make ui`, then http://localhost:3000")
    sys.exit(0 if matches else 1)


def selections() -> list[list[Stage]]:
    """Stages that one command can materialise, in order: a range is of one kind of partition."""
    stages = [stage for stage in GRAPH.stages if not stage.is_optional]
    groups = groupby(stages, key=lambda stage: stage.by is Partitioning.CELL_GROUP)
    return [list(group) for _, group in groups]


def _materialize(stages: list[Stage], settings: Settings, log_descriptor: int, log: Path) -> None:
    keys = list(Source(settings.source).list_shards())
    if stages[0].by is Partitioning.CELL_GROUP:
        keys = cell_group_names(settings)
    selection, partition_range = ",".join(stage.name for stage in stages), f"{keys[0]}...{keys[-1]}"
    options = ["-m", "curator_assets.definitions", "--select", selection]
    options += ["--partition-range", partition_range]
    command = ["dagster", "asset", "materialize", *options]
    print(f"$ {shlex.join(command)}", flush=True)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, stdout=log_descriptor, stderr=log_descriptor, env=environment, check=False
    )
    if done.returncode:
        print("\n".join(log.read_text().splitlines()[-40:]), file=sys.stderr)
        sys.exit(f"materialising {selection} failed; the whole log: {log}")


if __name__ == "__main__":
    main()
