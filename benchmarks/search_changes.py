"""What the search costs once images come or go, or have outgrown the codebook; of this commit.

Used by near_duplicates.py.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from search_cost import (
    OUTPUT,
    SEARCHES,
    Array,
    print_heads,
    print_row,
    read_shards,
    write_settings,
    write_shards,
)
from search_projects import Projects, run, shard_ranges

CODEBOOK, ASSIGN, FIND = SEARCHES
N_DROPS, DROP = 10, 0.01
N_GROWN = 10_000

Costs = dict[str, dict[str, Any]]


def report_drops(projects: Projects, n_images: int, eps: float) -> None:
    """Ten drops of 1 % in a row against one full search on the same codebook, and a removal."""
    n_drop = int(DROP * n_images)
    n_base = n_images - N_DROPS * n_drop
    with projects.project("now", n_images, eps, rows=shard_ranges(0, n_base)) as folder:
        refresh(projects, folder)
        dropped = list[Costs]()
        for i in range(N_DROPS):
            before = named_pairs(folder)
            rows = range(n_base + i * n_drop, n_base + (i + 1) * n_drop)
            projects.add("now", folder, n_images, {f"drop-{i}": rows})
            dropped.append(refresh(projects, folder))
        joined = named_pairs(folder)
        with projects.copy(folder) as other:
            shutil.rmtree(other / OUTPUT / "ledger" / FIND)
            full = refresh(projects, other)
            at_once = named_pairs(other)
        write_shards(folder, read_shards(folder)[:-1])
        removal = refresh(projects, folder)
        left = named_pairs(folder)
    print(f"\n## Drops: N = {n_images:,}, max_eps = {eps}, {n_drop:,} images each, one thread\n")
    heads = [
        "",
        "new, over the groups",
        "find, CPU-s",
        "of full",
        "products",
        "of full",
        "assign, CPU-s",
    ]
    print_heads(*heads, "read by find, MB")
    print_change("all images, same codebook", [full], full)
    print_change("the first drop", dropped[:1], full)
    print_change("the last drop", dropped[-1:], full)
    print_change("ten drops in a row", dropped, full)
    print_change("removal of the last", [removal], full)
    print(f"\nTen drops and one full search: {difference(joined, at_once)}.")
    print(f"Nine drops, and ten less the last: {difference(before, left)}.", flush=True)


def refresh(projects: Projects, folder: Path) -> Costs:
    """What is stale of each stage is made."""
    found = {stage: projects.run("now", folder, "--stage", stage) for stage in SEARCHES}
    told = {stage: f"{costs['cpu_seconds']:.2f}" for stage, costs in found.items()}
    print(f"{len(read_shards(folder))} shards: CPU-s {told}", file=sys.stderr, flush=True)
    return found


def named_pairs(folder: Path) -> dict[str, Array]:
    """Arrays of the pairs and members of pools of all groups, by the number of each image."""
    run("search_looks.py", folder, "pairs", folder / "pairs.npz")
    with np.load(folder / "pairs.npz") as arrays:
        return dict(arrays)


def difference(one: dict[str, Array], other: dict[str, Array]) -> str:
    """By how much two searches differ, in words."""
    cosines, pools = [], []
    for found in (one, other):
        pairs = zip(found["a"].tolist(), found["b"].tolist(), strict=True)
        cosines.append(dict(zip(pairs, found["cosine"].tolist(), strict=True)))
        members = zip(found["pool_row"].tolist(), found["pool_cell"].tolist(), strict=True)
        pools.append(set(members))
    mine, theirs = cosines
    both = mine.keys() & theirs.keys()
    return (
        f"{len(mine):,} and {len(theirs):,} pairs listed, {len(mine.keys() ^ theirs.keys()):,} by "
        f"one only, {sum(mine[p] != theirs[p] for p in both):,} with another cosine; "
        f"{len(pools[0]):,} and {len(pools[1]):,} members of pools, "
        f"{len(pools[0] ^ pools[1]):,} by one only"
    )


def print_change(what: str, changes: list[Costs], full: Costs) -> None:
    """The row of some refreshes together, beside a full search."""
    seconds = sum(costs[FIND]["cpu_seconds"] for costs in changes)
    n_products = sum(told(costs, "n_compared") for costs in changes)
    print_row(
        what,
        f"{sum(told(costs, 'n_new') for costs in changes):,}",
        f"{seconds:.2f}",
        f"{seconds / full[FIND]['cpu_seconds']:.3f}",
        f"{n_products:,}",
        f"{n_products / told(full, 'n_compared'):.4f}",
        f"{sum(costs[ASSIGN]['cpu_seconds'] for costs in changes):.2f}",
        f"{sum(costs[FIND]['read_bytes'] for costs in changes) / 1e6:,.0f}",
    )


def told(costs: Costs, name: str) -> int:
    """A count of the search, over the groups that were searched."""
    return sum(group[name] for group in costs[FIND]["made"])


def report_grown(projects: Projects, n_images: int, eps: float) -> None:
    """A codebook from the first 10,000: what the plan says, and costs before and after."""
    held = {"clusters": {"retrain": False}}
    first, rest = range(N_GROWN), shard_ranges(N_GROWN, n_images)
    found = dict[str, tuple[list[str], Costs]]()
    with projects.project("now", n_images, eps, rows=[first], **held) as folder:
        projects.run("now", folder, "--stage", CODEBOOK)
        projects.add("now", folder, n_images, {f"more-{i}": rows for i, rows in enumerate(rest)})
        with projects.copy(folder) as other:
            found["the codebook of the first, held back"] = looked_at(projects, other)
        write_settings(folder, eps)
        found["trained anew"] = looked_at(projects, folder)
    print(f"\n## Grown from {N_GROWN:,} to {n_images:,} images, max_eps = {eps}, one thread\n")
    heads = ["CPU-seconds", "codebook", "assign", "find", "the whole", "products"]
    print_heads(*heads, "comparable, of all pairs", "recall")
    for what, (_, costs) in found.items():
        seconds = [costs[stage]["cpu_seconds"] for stage in SEARCHES]
        cells = [f"{s:.1f}" for s in (*seconds, sum(seconds))] + [f"{told(costs, 'n_compared'):,}"]
        n_comparable = told(costs, "n_comparable") / (n_images * (n_images - 1) / 2)
        recall = costs[FIND]["checks"][0]["recall"]
        print_row(what, *cells, f"{n_comparable:.4f}", f"{recall:.6f}")
    for what, (lines, _) in found.items():
        print(
            f"\nThe plan, {what}:", *(lines or ["nothing of the codebook"]), sep="\n- ", flush=True
        )


def looked_at(projects: Projects, folder: Path) -> tuple[list[str], Costs]:
    """What the plan says before, and what a refresh costs."""
    lines: list[str] = run("search_looks.py", folder, "plan")["lines"]
    return lines, refresh(projects, folder)
