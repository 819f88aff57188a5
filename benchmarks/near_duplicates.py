"""The near-duplicate search whole, against an earlier commit's and against its peers.

    python benchmarks/near_duplicates.py                          # N = 131,072, eps .03 and .05
    python benchmarks/near_duplicates.py --sizes 524288 --eps .05 --rounds 1
    python benchmarks/near_duplicates.py --sizes 1000000 --width 512 --now-only
    python benchmarks/near_duplicates.py --peers                  # FAISS, usearch, scikit-learn

Projects whose images are embedded are written from synthetic vectors (synthetic_vectors.py), in
shards of 8,192; then the stages of the search are made, each in a process of its own on one thread,
with the product's own settings, `max_eps` aside. Rounds alternate between the commits. CPU-seconds
are those of a process that has made the same of a tiny project before. search_kernels.py looks at
the kernels alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from search_cost import ONE_THREAD, SEARCHES, print_heads, print_row, write_settings
from search_peers import compare_peers
from synthetic_vectors import clip_like

BEFORE = "d587dfb"
ROOT = Path(__file__).parents[1]
SHARD_ROWS = 8192
CHILDREN = {"before": "search_before.py", "now": "search_now.py"}
WORDS = {"centroids": "codebook", "cluster_assignments": "assign", "near_duplicate_pairs": "find"}

COUNTED = ("dagster/row_count", "n_in_dense_clumps")
SHARED = ("share_of_brute_force", "skew", "visits_per_image")
SIZES = {
    "peak MiB": ("peak_mib", 1),
    "MiB before": ("start_mib", 1),
    "MB read": ("read_bytes", 1e6),
    "MB written": ("written_bytes", 1e6),
    "MB stored": ("stored_bytes", 1e6),
}

Costs = dict[str, dict[str, Any]]
"""What each stage cost, as `search_cost.measured` tells it."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2**17], help="images")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--eps", type=float, nargs="+", default=[0.03, 0.05])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--now-only", action="store_true", help="without the earlier commit")
    parser.add_argument("--peers", action="store_true", help="only these, at the first eps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to keep vectors and projects")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="search-") as temporary:
        bench = Bench(arguments.folder or Path(temporary), arguments.width, arguments.seed)
        for n_images in arguments.sizes:
            if arguments.peers:
                eps = arguments.eps[0]
                compare_peers(bench.vectors(n_images), n_images, eps, run)
                report_beside_peers(search(bench, "now", n_images, eps), n_images)
            else:
                sides = list(CHILDREN)[arguments.now_only :]
                compare_commits(bench, n_images, arguments.eps, sides, arguments.rounds)


def run(script: str, *words: object, path: Path = ROOT) -> dict[str, Any]:
    """The last line, as JSON, of what a child on one thread prints; with a package on its path."""
    command = [sys.executable, str(Path(__file__).parent / script), *map(str, words)]
    paths = [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{command[1:]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads((done.stdout.splitlines() or ["{}"])[-1])
    return found


class Bench:
    """Vectors and projects in a folder, each made once.

    Args:
        folder: to keep them in.
        width: D of the vectors.
        seed: of the vectors.
    """

    def __init__(self, folder: Path, width: int, seed: int) -> None:
        self._folder, self._width, self._seed = folder, width, seed

    def vectors(self, n_images: int) -> Path:
        """A .npy of float32 [N, D] unit vectors."""
        name = f"vectors-{n_images}x{self._width}-{self._seed}.npy"
        return self._once(name, lambda path: self._draw(path, n_images))

    def _draw(self, path: Path, n_images: int) -> None:
        with path.open("wb") as file:
            np.save(file, clip_like(n_images, self._width, self._seed))

    def package(self, side: str) -> Path:
        """The folder below which the package of a side lies."""
        return ROOT if side == "now" else self._once(BEFORE, _check_out)

    @contextmanager
    def project(
        self, side: str, n_images: int, max_eps: float, n_cell_groups: int | None = None
    ) -> Iterator[Path]:
        """A project of embedded images; what is made of it is gone in the end."""
        vectors, starts = self.vectors(n_images), range(0, n_images, SHARD_ROWS)
        shards = {
            f"{i:05d}": (start, min(start + SHARD_ROWS, n_images)) for i, start in enumerate(starts)
        }

        def write(path: Path) -> None:
            path.mkdir()
            write_settings(path, max_eps)
            rows = [f"{name}:{start}:{stop}" for name, (start, stop) in shards.items()]
            self.run(side, path, "--vectors", vectors, "--shards", *rows)
            (path / "shards.txt").write_text("\n".join(shards))

        written = self._once(f"{side}-{n_images}x{self._width}-{self._seed}", write)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="project-") as folder:
            subprocess.run(["cp", "-rl", f"{written}/.", folder], check=True)
            (Path(folder) / "curator.yaml").unlink()
            write_settings(Path(folder), max_eps, n_cell_groups)
            yield Path(folder)

    def run(self, side: str, *words: object) -> dict[str, Any]:
        """What a side's child tells."""
        return run(CHILDREN[side], *words, path=self.package(side))

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        """What lies in the folder under a name, made if it does not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        if not path.exists():
            unfinished = path.with_name(f"{name}.unfinished")
            subprocess.run(["rm", "-rf", str(unfinished)], check=True)
            make(unfinished)
            unfinished.rename(path)
        return path.absolute()


def _check_out(path: Path) -> None:
    """The package as it was at the earlier commit."""
    path.mkdir()
    command = ["git", "archive", BEFORE, "curator_assets"]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", str(path)], input=archive, check=True)


def search(bench: Bench, side: str, n_images: int, max_eps: float) -> Costs:
    """What each stage costs, from nothing but embeddings."""
    with bench.project(side, n_images, max_eps) as folder:
        found = {stage: bench.run(side, folder, "--stage", stage) for stage in SEARCHES}
    told = {stage: f"{costs['cpu_seconds']:.1f}" for stage, costs in found.items()}
    print(f"{side}, {n_images:,} at eps {max_eps}: CPU-s {told}", file=sys.stderr, flush=True)
    return found


def compare_commits(
    bench: Bench, n_images: int, eps_values: list[float], sides: list[str], n_rounds: int
) -> None:
    """The tables of one size."""
    for eps in eps_values:
        rounds: dict[str, list[Costs]] = {side: [] for side in sides}
        for _ in range(n_rounds):
            for side in sides:
                rounds[side].append(search(bench, side, n_images, eps))
        print(f"\n## N = {n_images:,}, max_eps = {eps}: {n_rounds} rounds, one thread\n")
        report_seconds(rounds)
        report_sizes(rounds)


def report_seconds(rounds: dict[str, list[Costs]]) -> None:
    """CPU-seconds by stage, side by side."""
    print_heads("CPU-seconds, median (range)", *rounds, "now / before")
    rows: dict[str, Callable[[Costs], float]] = {
        WORDS[stage]: lambda costs, stage=stage: costs[stage]["cpu_seconds"]  # type: ignore[misc]
        for stage in SEARCHES
    }
    rows["**the whole**"] = lambda costs: sum(costs[s]["cpu_seconds"] for s in SEARCHES)
    rows["recall check"] = lambda costs: costs[SEARCHES[-1]]["check_cpu_seconds"]
    for name, seconds in rows.items():
        found = {side: [seconds(costs) for costs in made] for side, made in rounds.items()}
        cells = [f"{median(s):.1f} ({min(s):.1f}-{max(s):.1f})" for s in found.values()]
        ratio = median(found["now"]) / max(median(found.get("before", [0])), 1e-9)
        print_row(name, *cells, f"{ratio:.3f}" if "before" in found else "")


def report_sizes(rounds: dict[str, list[Costs]]) -> None:
    """What was found, and memory and bytes by stage, of each side's last round."""
    print()
    heads = ["", "cells", "pairs listed", "in dense clumps", "of brute force", "skew", "visits"]
    print_heads(*heads, "recall", "queries")
    for side, made in rounds.items():
        codebook, _, pairs = (made[-1][stage] for stage in SEARCHES)
        groups, check = pairs["made"], pairs["check"]
        cells = [f"{codebook['made'][0]['n_clusters']:,}"]
        cells += [f"{sum(g.get(n, 0) for g in groups):,}" for n in COUNTED]
        cells += [f"{groups[0].get(name, 0):.4g}" for name in SHARED]
        print_row(side, *cells, f"{check['recall']:.6f}", f"{check['n_queries']:,}")
    print()
    print_heads("", "stage", *SIZES)
    for side, made in rounds.items():
        for stage in SEARCHES:
            cells = [f"{made[-1][stage][name] / unit:,.1f}" for name, unit in SIZES.values()]
            print_row(side, WORDS[stage], *cells)


def report_beside_peers(found: Costs, n_images: int) -> None:
    """The row of the product; its recall is of a sample of queries, its index is on disk."""
    *index, pairs = (found[stage] for stage in SEARCHES)
    of_index = sum(costs["cpu_seconds"] for costs in index)
    whole = of_index + pairs["cpu_seconds"]
    peak = max(found.values(), key=lambda costs: costs["peak_mib"])
    memory = f"{peak['peak_mib']:,.0f} ({peak['start_mib']:,.0f})"
    recall = f"{pairs['check']['recall']:.6f}"
    print_row("this search", f"{whole:.1f}", f"{of_index:.1f}", f"{n_images:,}", recall, memory)


if __name__ == "__main__":
    main()
