"""What a project holds, would make, and needs for one group: a child of near_duplicates.py.

python search_looks.py FOLDER pairs FILE.npz
python search_looks.py FOLDER plan
python search_looks.py FOLDER group median 2.0
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from search_cost import cpu_seconds, memory_mib, read_shards, transferred, warm
from search_now import make_stage, work_on, write

from curator_assets.cli.codebook_lines import codebook_lines
from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.near_duplicate_pairs import (
    NEAR_DUPLICATE_PAIRS,
    assigned_shards,
)
from curator_assets.defs.deduplicate.pair_search import PairSearch
from curator_assets.engine.plan import plan
from curator_assets.engine.work import Purpose, Work
from curator_assets.storage.tables.cell_groups import GroupFiles
from curator_assets.storage.tables.pair_tables import RowNumbers, read_pairs


def main() -> None:
    """The command line."""
    folder, what = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    work = work_on(folder, read_shards(folder))
    if what == "pairs":
        save_pairs(work, Path(sys.argv[3]))
        print("{}")
    elif what == "plan":
        print(json.dumps({"lines": plan_lines(work)}))
    else:
        warm(write, make_stage, NEAR_DUPLICATE_PAIRS.name)
        print(json.dumps(search_group(bounded(work, float(sys.argv[4])), sys.argv[3])))


def save_pairs(work: Work, path: Path) -> None:
    """Pairs by the number of each image among all, shards in order; and members of pools."""
    numbers = RowNumbers(
        {s: entry.state["n_samples"] for s, entry in assigned_shards(work).items()}
    )
    pairs = read_pairs(work.store, work.cell_groups, numbers)
    np.savez(
        path,
        a=pairs.a,
        b=pairs.b,
        cosine=pairs.cosine,
        pool_row=pairs.dense.row,
        pool_cell=pairs.dense.cell,
    )


def plan_lines(work: Work) -> list[str]:
    """What `curate plan` says of the codebook."""
    looked_at = replace(work, purpose=Purpose.PLAN)
    plans = plan([CENTROIDS], looked_at)
    reasons = [f"{CENTROIDS.name}: {why}" for found in plans for why in found.reasons]
    return [*reasons, *codebook_lines(plans, looked_at)]


def bounded(work: Work, search_memory_gib: float) -> Work:
    """With another bound of a group's search."""
    changed = {"search_memory_gib": search_memory_gib}
    duplicates = work.settings.duplicates.model_copy(update=changed)
    return replace(work, settings=work.settings.model_copy(update={"duplicates": duplicates}))


def search_group(work: Work, which: str) -> dict[str, Any]:
    """What the search of one group from scratch costs, the `largest` or the `median` by members."""
    assigned, members, n_passes = assigned_shards(work), Counter[str](), 0
    for entry in assigned.values():
        members.update(entry.state["n_members"])
    ordered = [group for group, _ in members.most_common()]
    group = ordered[0 if which == "largest" else len(ordered) // 2]
    load = GroupFiles.of

    def counted(*args: Any) -> Any:
        nonlocal n_passes
        n_passes += 1
        return load(*args)

    GroupFiles.of = counted  # type: ignore[method-assign, assignment]
    search = PairSearch(work.store, work.settings, assigned)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    start_mib, before, cpu = memory_mib("VmRSS"), transferred()["read_bytes"], cpu_seconds()
    found = search.tables(f"{int(group):04d}", None)
    return {
        "n_members": members[group],
        "n_passes": n_passes,
        "n_pairs": len(found.pairs),
        "start_mib": start_mib,
        "peak_mib": memory_mib("VmHWM"),
        "read_bytes": transferred()["read_bytes"] - before,
        "cpu_seconds": cpu_seconds() - cpu,
    }


if __name__ == "__main__":
    main()
