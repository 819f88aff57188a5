"""What the stages of the search cost, told by the process that makes them.

It knows nothing of the package: what is measured may be another commit's (search_before.py) as
well as this one's (search_now.py).
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
import yaml
from numpy.typing import NDArray

SEARCHES = ("centroids", "cluster_assignments", "near_duplicate_pairs")
"""The stages, in order."""

OUTPUT, EMBEDDINGS = "curated", "embeddings"
WARM_ROWS = 256
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Array = NDArray[Any]
Write = Callable[[Path, dict[str, Array]], None]
"""Adds embedded shards, name -> float32 [n, D], to the project in a folder."""

Make = Callable[[str, Path, list[str]], Iterator[dict[str, Any]]]
"""Makes the partitions of a stage that are not fresh, of a project with these shards in order of
arrival: what is told of each, and then of each check on the whole."""


def write_settings(folder: Path, max_eps: float, **changed: dict[str, Any]) -> None:
    """Settings of a project: the product's own, but for the eps and some others by section.

    Other projects may share the files that are there, which therefore aren't written to.
    """
    (folder / "tars").mkdir(exist_ok=True)
    if not (folder / "weights.bin").exists():
        (folder / "weights.bin").write_bytes(b"no image is embedded")
    settings: dict[str, Any] = {
        "source": "tars",
        "output": OUTPUT,
        "model": {"device": "cpu", "pretrained": "weights.bin"},
        "duplicates": {"eps": max_eps, "max_eps": max_eps},
    }
    for section, values in changed.items():
        settings[section] = settings.get(section, {}) | values
    (folder / "curator.yaml").unlink(missing_ok=True)
    (folder / "curator.yaml").write_text(yaml.safe_dump(settings))


def read_shards(folder: Path) -> list[str]:
    """The shards of a project, in order of arrival."""
    path = folder / "shards.txt"
    return path.read_text().split() if path.exists() else []


def write_shards(folder: Path, shards: list[str]) -> None:
    """Say which shards a project has; other projects may share the file, as that of settings."""
    (folder / "shards.txt").unlink(missing_ok=True)
    (folder / "shards.txt").write_text("\n".join(shards))


def run_child(write: Write, make: Make) -> None:
    """The command line of a child: write shards, or make a stage and print a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vectors", type=Path, help="a .npy of float32 [N, D]")
    parser.add_argument("--shards", nargs="+", default=[], help="NAME:START:STOP, rows of vectors")
    parser.add_argument("--stage", choices=SEARCHES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    if arguments.stage:
        shards = read_shards(arguments.folder)
        print(json.dumps(measured(write, make, arguments.stage, arguments.folder, shards)))
        return
    vectors = np.load(arguments.vectors, mmap_mode="r")
    for shard in arguments.shards:
        name, start, stop = shard.split(":")
        write(arguments.folder, {name: vectors[int(start) : int(stop)]})


def measured(
    write: Write, make: Make, stage: str, folder: Path, shards: list[str]
) -> dict[str, Any]:
    """What making a stage costs in this process, once it has made the same of a tiny project.

    Returns:
        cpu_seconds, wall_seconds: of the partitions, as all but the checks.
        read_bytes, written_bytes: by system calls; what is read of a mapped file is not in them.
        start_mib, peak_mib: resident memory before and at most.
        stored_bytes: by which the output grew.
        made: what was told of each partition.
        checks: what was told of the whole, with cpu_seconds of each.
    """
    warm(write, make, stage)
    stored, start_mib, begun = stored_bytes(folder), memory_mib("VmRSS"), spent()
    made, checks = list[dict[str, Any]](), list[dict[str, Any]]()
    at_end, before = spent(), cpu_seconds()
    for told in make(stage, folder, shards):
        if "partition" in told:
            made.append(told)
            at_end = spent()
        else:
            checks.append({**told, "cpu_seconds": cpu_seconds() - before})
        before = cpu_seconds()
    return {
        **{name: at_end[name] - begun[name] for name in begun},
        "start_mib": start_mib,
        "peak_mib": at_end["peak_mib"],
        "stored_bytes": stored_bytes(folder) - stored,
        "made": made,
        "checks": checks,
    }


def spent() -> dict[str, float]:
    """Of this process so far."""
    return {
        "cpu_seconds": cpu_seconds(),
        "wall_seconds": time.perf_counter(),
        "peak_mib": memory_mib("VmHWM"),
        **transferred(),
    }


def warm(write: Write, make: Make, stage: str) -> None:
    """Make a stage, and those before it, of a project of a few images."""
    rows = np.random.default_rng(0).normal(size=(WARM_ROWS, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        write_settings(Path(folder), 0.05)
        write(Path(folder), {"warm": rows})
        for name in SEARCHES[: SEARCHES.index(stage) + 1]:
            for _ in make(name, Path(folder), ["warm"]):
                pass


def cpu_seconds() -> float:
    """Of this process and of the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def memory_mib(line: str) -> float:
    """Resident memory of this process now (`VmRSS`) or at most so far (`VmHWM`)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(s.split()[1]) for s in status if s.startswith(line)) / 1024


def transferred() -> dict[str, int]:
    """Bytes that this process has read and written by system calls."""
    lines = dict(s.split(": ") for s in Path("/proc/self/io").read_text().splitlines())
    return {"read_bytes": int(lines["rchar"]), "written_bytes": int(lines["wchar"])}


def stored_bytes(folder: Path) -> int:
    """Size of what lies in the output of a project, the embeddings aside."""
    output = folder / OUTPUT
    files = (path for path in output.rglob("*") if path.is_file())
    return sum(p.stat().st_size for p in files if p.relative_to(output).parts[0] != EMBEDDINGS)


def embedding_rows(shard: str, n: int) -> dict[str, Any]:
    """The columns beside the embedding that a table of embeddings can't do without."""
    keys = [f"{i:06d}" for i in range(n)]
    return {
        "image_id": [f"{shard}/{key}" for key in keys],
        "shard": [shard] * n,
        "key": keys,
        "position": np.arange(n, dtype=np.int32),
        "n_images": np.ones(n, np.int32),
        "n_bytes": np.full(n, 50_000, np.int64),
    }


def print_row(*cells: object) -> None:
    """One row of a markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def print_heads(*heads: str) -> None:
    """The head of a markdown table."""
    print_row(*heads)
    print_row(*("---" for _ in heads))
