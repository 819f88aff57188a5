"""`make demo`: sample tars, every asset, and what was found against what was planted."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from curator_assets.demo.samples import make_shards, write_truth
from curator_assets.demo.summary import print_summary
from curator_assets.settings import Settings, load_settings
from curator_assets.storage.source import Source

N_PHOTOGRAPHS = 313

STAGES = (
    ("image_embeddings,filter_scores,centroids,cluster_assignments", "shards"),
    ("near_duplicate_pairs", "cell groups"),
    ("duplicate_groups,duplicate_ids,deduplicated_shards,curation_report", "shards"),
)


def main() -> None:
    """Make the sample tars, materialise every asset as a user would, and print the summary."""
    settings = load_settings()
    source, truth = Path(settings.source), Path(settings.source).parent / "truth.json"
    print(f"Sample tars with planted cases go to {source}")
    write_truth(truth, make_shards(source, n_samples=N_PHOTOGRAPHS, seed=0))
    started = time.monotonic()
    log = Path(settings.output).parent / "demo.log"
    with log.open("w") as file:
        for selection, partitions in STAGES:
            _materialize(selection, _range(settings, partitions), file.fileno(), log)
    print(f"All assets are materialised after {time.monotonic() - started:.0f} s; log: {log}\n")
    matches = print_summary(settings, truth)
    print("\nOpen the UI with `make ui`, then http://localhost:3000")
    sys.exit(0 if matches else 1)


def _range(settings: Settings, partitions: str) -> str:
    if partitions == "cell groups":
        return f"0000...{settings.clusters.n_cell_groups - 1:04d}"
    shards = list(Source(settings.source).list_shards())
    return f"{shards[0]}...{shards[-1]}"


def _materialize(selection: str, partition_range: str, log_descriptor: int, log: Path) -> None:
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
