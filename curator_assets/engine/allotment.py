"""How much of this machine this process may take: all of it, or what a cluster gave it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

_CORES, _MEMORY_FRACTION = "CURATOR_CORES", "CURATOR_MEMORY_FRACTION"
_OTHERS = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")
"""By which libraries go that are loaded later."""


def allot(n_cores: int, memory_fraction: float) -> None:
    """Have this process, and those that it starts, take only so much; before libraries are loaded.

    Args:
        n_cores: CPU cores; a cluster keeps nobody off the others.
        memory_fraction: 0-1, of the machine's memory.
    """
    for name in (_CORES, *_OTHERS):
        os.environ[name] = str(n_cores)
    os.environ[_MEMORY_FRACTION] = repr(memory_fraction)


def n_cores() -> int:
    """CPU cores to work on."""
    allotted = os.environ.get(_CORES)
    return int(allotted) if allotted else len(os.sched_getaffinity(0))


def memory_bytes() -> float:
    """Memory to work in."""
    total = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # ValueError: `max`, no limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total * float(os.environ.get(_MEMORY_FRACTION, "1"))
