"""Who holds a lease: the process, as others name it, and whether it is gone."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """A process that took a lease.

    Attributes:
        id: of this taking of it.
        run: of Dagster.
        host: the machine's name, for people.
        machine: equal where process numbers mean the same; empty where that can't be known.
        pid: of the process.
        started: when the process began, in the machine's own count: numbers are used again.
        since: when it took the lease, for people.
        beat: grows for as long as the holder lives.
        released: it let go.
    """

    id: str
    run: str
    host: str
    machine: str
    pid: int
    started: str
    since: str
    beat: int = 0
    released: bool = False

    def __str__(self) -> str:
        return f"run {self.run}, process {self.pid} on {self.host}, since {self.since}"


def me(run: str) -> Holder:
    """This process, about to take a lease."""
    pid = os.getpid()
    return Holder(
        id=uuid.uuid4().hex,
        run=run,
        host=platform.node(),
        machine=_machine(),
        pid=pid,
        started=_started(pid) or "",
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def encoded(holder: Holder) -> bytes:
    """The line of a lease's file."""
    return (json.dumps(vars(holder)) + "\n").encode()


def decoded(data: bytes) -> Holder | None:
    """The inverse; None if it is damaged."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.keys() != _KINDS.keys():
        return None
    if not all(type(fields[name]).__name__ == kind for name, kind in _KINDS.items()):
        return None
    return Holder(**fields)


_KINDS = {known.name: known.type for known in dataclasses.fields(Holder)}


def is_this_process(holder: Holder) -> bool:
    """Whether the process that asks is the holder."""
    return holder.pid == os.getpid() and _is_here(holder) and not is_gone(holder)


def is_gone(holder: Holder) -> bool:
    """Whether the holder's process has ended; False also where that can't be seen from here."""
    if not _is_here(holder):
        return False
    started = _started(holder.pid)
    if started is not None:
        return started != holder.started
    try:  # /proc may hide the processes of other users
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _is_here(holder: Holder) -> bool:
    return holder.machine == _machine() != ""


def _started(pid: int) -> str | None:
    """When a process began, in ticks; empty for one that has ended, None if it can't be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, *fields = stat.rpartition(b")")[2].decode().split()
    return "" if state in {"Z", "X"} else fields[18]


@cache
def _machine() -> str:
    """The boot of this machine and the namespace of process numbers, which containers differ in."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
