"""The near-duplicate search whole, against an earlier commit's and against its peers.

    python benchmarks/near_duplicates.py                          # N = 131,072, eps .03 and .05
    python benchmarks/near_duplicates.py --sizes 524288 --eps .05 --rounds 1
    python benchmarks/near_duplicates.py --sizes 1000000 --width 512 --now-only
    python benchmarks/near_duplicates.py --peers                  # FAISS, usearch, scikit-learn
    python benchmarks/near_duplicates.py --drops                  # 1 % ten times, and a removal
    python benchmarks/near_duplicates.py --grown                  # from a codebook of 10,000
    python benchmarks/near_duplicates.py --groups 16 64 256       # memory and bytes of one of them

Projects whose images are embedded are written from synthetic vectors (synthetic_vectors.py), in
shards of 8,192; then the stages of the search are made, each in a process of its own on one thread,
with the product's own settings, `max_eps` aside. Rounds alternate between the commits. CPU-seconds
are those of a process that has made the same of a tiny project before. search_kernels.py looks at
the kernels alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from search_changes import report_drops, report_grown
from search_cost import SEARCHES, print_heads, print_row
from search_groups import report_groups
from search_peers import compare_peers
from search_projects import CHILDREN, Projects, run

WORDS = {"centroids": "codebook", "cluster_assignments": "assign", "near_duplicate_pairs": "find"}

COUNTED = ("dagster/row_count", "n_in_dense_clumps")
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
    parser.add_argument("--drops", action="store_true", help="only these, of 1 %% each")
    parser.add_argument("--grown", action="store_true", help="only a codebook of a few images")
    parser.add_argument("--groups", type=int, nargs="+", help="only one group's search, of so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="where to work and to keep vectors; on a local disk"
    )
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="search-") as folder:
        kept = (arguments.folder or Path(folder)).absolute()
        projects = Projects(Path(folder).absolute(), kept, arguments.width, arguments.seed)
        for n_images in arguments.sizes:
            report(projects, n_images, arguments)


def report(projects: Projects, n_images: int, asked: argparse.Namespace) -> None:
    """The tables of one size."""
    if asked.peers:
        eps = asked.eps[0]
        compare_peers(projects.vectors(n_images), n_images, eps, run)
        report_beside_peers(search(projects, "now", n_images, eps), n_images)
    for eps in asked.eps:
        if asked.drops:
            report_drops(projects, n_images, eps)
        if asked.grown:
            report_grown(projects, n_images, eps)
        if asked.groups:
            report_groups(projects, n_images, eps, asked.groups)
    if not (asked.peers or asked.drops or asked.grown or asked.groups):
        sides = list(CHILDREN)[asked.now_only :]
        compare_commits(projects, n_images, asked.eps, sides, asked.rounds)


def search(projects: Projects, side: str, n_images: int, max_eps: float) -> Costs:
    """What each stage costs, from nothing but embeddings."""
    with projects.project(side, n_images, max_eps) as folder:
        found = {stage: projects.run(side, folder, "--stage", stage) for stage in SEARCHES}
    told = {stage: f"{costs['cpu_seconds']:.1f}" for stage, costs in found.items()}
    print(f"{side}, {n_images:,} at eps {max_eps}: CPU-s {told}", file=sys.stderr, flush=True)
    return found


def compare_commits(
    projects: Projects, n_images: int, eps_values: list[float], sides: list[str], n_rounds: int
) -> None:
    """Costs by stage, and what was found."""
    for eps in eps_values:
        rounds: dict[str, list[Costs]] = {side: [] for side in sides}
        for _ in range(n_rounds):
            for side in sides:
                rounds[side].append(search(projects, side, n_images, eps))
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
    rows["recall check, as many queries"] = lambda costs: recall_checks(costs)[-1]["cpu_seconds"]
    rows["recall check, each side's own"] = lambda costs: recall_checks(costs)[0]["cpu_seconds"]
    for name, seconds in rows.items():
        found = {side: [seconds(costs) for costs in made] for side, made in rounds.items()}
        cells = [f"{median(s):.1f} ({min(s):.1f}-{max(s):.1f})" for s in found.values()]
        ratio = median(found["now"]) / max(median(found.get("before", [0])), 1e-9)
        print_row(name, *cells, f"{ratio:.3f}" if "before" in found else "")


def recall_checks(costs: Costs) -> list[dict[str, Any]]:
    """By the product's own size first, then with the queries of before."""
    checks: list[dict[str, Any]] = costs[SEARCHES[-1]]["checks"]
    return checks


def report_sizes(rounds: dict[str, list[Costs]]) -> None:
    """What was found, and memory and bytes by stage, of each side's last round."""
    print()
    heads = ["", "cells", "pairs listed", "in dense clumps", "comparable, of all pairs"]
    print_heads(*heads, "products / comparable", "recall (queries), as many", "its own")
    for side, made in rounds.items():
        codebook, _, pairs = (made[-1][stage] for stage in SEARCHES)
        groups, checks = pairs["made"], recall_checks(made[-1])
        cells = [f"{codebook['made'][0]['n_clusters']:,}"]
        cells += [f"{total(groups, name):,}" for name in COUNTED]
        cells += [f"{total(groups, 'share_of_brute_force'):.4g}"]
        compared = total(groups, "n_compared") / max(total(groups, "n_comparable"), 1)
        cells += [f"{compared:.3f}" if compared else "all"]
        cells += [f"{c['recall']:.6f} ({c['n_queries']:,})" for c in (checks[-1], checks[0])]
        print_row(side, *cells)
    print()
    print_heads("", "stage", *SIZES)
    for side, made in rounds.items():
        for stage in SEARCHES:
            cells = [f"{made[-1][stage][name] / unit:,.1f}" for name, unit in SIZES.values()]
            print_row(side, WORDS[stage], *cells)


def total(groups: list[dict[str, Any]], name: str) -> Any:
    """Of a figure that adds up over the cell groups, 0 where a side does not tell it."""
    return sum(group.get(name, 0) for group in groups)


def report_beside_peers(found: Costs, n_images: int) -> None:
    """The row of the product; its recall is of a sample of queries, its index is on disk."""
    *index, pairs = (found[stage] for stage in SEARCHES)
    of_index = sum(costs["cpu_seconds"] for costs in index)
    whole = of_index + pairs["cpu_seconds"]
    peak = max(found.values(), key=lambda costs: costs["peak_mib"])
    memory = f"{peak['peak_mib']:,.0f} ({peak['start_mib']:,.0f})"
    recall = f"{pairs['checks'][0]['recall']:.6f}"
    print_row("this search", f"{whole:.1f}", f"{of_index:.1f}", f"{n_images:,}", recall, memory)


if __name__ == "__main__":
    main()
