"""What a child of resolution.py measures, whatever commit its package is of."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search_cost import memory_mib

FOLDER = "curated"


@dataclass(frozen=True)
class Measured:
    """Of a resolution.

    Attributes:
        mib: peak beyond what was held before.
        digest: of who is removed, for whom, at which cosine.
    """

    seconds: float
    mib: float
    n_removed: int
    n_groups: int
    digest: str


def settings_in(folder: Path, keep: str, rule: str) -> dict[str, Any]:
    """The project's settings."""
    return {
        "source": str(folder / "tars"),
        "output": str(folder / FOLDER),
        "model": {"device": "cpu"},
        "filters": [{"score": "sharpness", "min": 0.05}],
        "clusters": {"n_cell_groups": 16},
        "duplicates": {
            "eps": 0.03,
            "max_eps": 0.05,
            "keep": keep,
            "rule": rule,
            "best_by": ["sharpness"] if keep == "best" else [],
        },
    }


def run_child(resolve: Callable[[Path, str, str], Iterable[tuple[str, Any]]]) -> None:
    """Measure a resolution that the command line names; tell it as JSON.

    Args:
        resolve: resolves and writes the table of groups; gives the rows of each shard, as they are
            read from there.
    """
    folder, keep, rule = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    gc.collect()
    base, started = memory_mib("VmRSS"), time.perf_counter()
    shards = resolve(folder, keep, rule)
    seconds, mib = time.perf_counter() - started, memory_mib("VmHWM") - base
    digest, n_removed, kept = hashlib.sha256(), 0, set[int]()
    for shard, rows in shards:
        n_removed += len(rows)
        ids, kept_ids = rows["id"].to_pylist(), rows["kept_id"].to_pylist()
        kept.update(map(hash, kept_ids))
        digest.update("\0".join([shard, *ids, *kept_ids]).encode())
        digest.update(rows["cosine"].to_numpy().tobytes())
        digest.update(rows["position"].to_numpy().tobytes())
        digest.update(rows["kept_position"].to_numpy().tobytes())
        digest.update("\0".join(rows["kept_shard"].to_pylist()).encode())
    print(json.dumps(asdict(Measured(seconds, mib, n_removed, len(kept), digest.hexdigest()))))
