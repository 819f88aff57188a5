"""One refresh at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from curator_assets.errors import UserError
from curator_assets.storage.store import Store


class RefreshRunningError(UserError):
    """Another refresh works on the same output."""


@contextmanager
def hold_refresh_lock(store: Store, run_id: str) -> Iterator[None]:
    """Hold the lock of an output; the system lets go of it even if this process is killed.

    For an output in a bucket the lock is this machine's alone.

    Raises:
        RefreshRunningError: another process holds it; says which run, where and since when.
    """
    path = _lock_path(store)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RefreshRunningError(
                f"a refresh of {store.location} is running: {file.read().strip()}; wait for it, or "
                "end that run"
            ) from None
        file.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(f"run {run_id}, process {os.getpid()} on {socket.gethostname()}, since {since}")
        file.flush()
        yield
        file.truncate(0)


def is_refreshing(store: Store) -> bool:
    """Whether a living process of this machine holds the lock of an output."""
    path = _lock_path(store)
    if not path.exists():
        return False
    holder = re.search(r"process (\d+)", path.read_text())
    return holder is not None and Path(f"/proc/{holder[1]}").exists()


def _lock_path(store: Store) -> Path:
    if store.is_local:
        return Path(store.path(".refresh.lock"))
    name = hashlib.sha256(store.location.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"curator_assets-{name}.lock"
