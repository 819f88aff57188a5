"""Workers that have nothing to do: kept for the next task of this process, since they start slowly.

Each has a model loaded. They end with this process.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import defaultdict

from curator_assets.engine.workers.worker import Worker

_idle = defaultdict[tuple[int, str], list[Worker]](list)
"""By process, since a fork has none of them, and by device."""

_lock = threading.Lock()


def take(device: str, *, fresh: bool = False) -> Worker:
    """A worker for a device, one in which nothing was run yet if it is to be fresh."""
    with _lock:
        idle = _idle[os.getpid(), device]
        found = idle.pop() if idle else None
    if found is not None:
        if found.is_alive() and not fresh:
            return found
        found.close()
    return Worker()


def give_back(device: str, worker: Worker) -> None:
    """Keep a worker for the next task."""
    with _lock:
        _idle[os.getpid(), device].append(worker)


def end_idle() -> None:
    """End every worker that has nothing to do."""
    with _lock:
        idle = [
            worker
            for (pid, _), workers in _idle.items()
            if pid == os.getpid()
            for worker in workers
        ]
        _idle.clear()
    for worker in idle:
        worker.close()


atexit.register(end_idle)
