"""One worker as its supervisor sees it: a process that may die, hang or take too much memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from curator_assets.engine.partitioning import Partition
from curator_assets.engine.workers.in_flight import Flying, InFlight
from curator_assets.engine.workers.task import Line, Task, Tells
from curator_assets.kernels.image_format import DecodeError

SECONDS_BETWEEN_LOOKS = 0.2
"""So often the supervisor looks after a worker."""

_SECONDS_TO_END = 5.0
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from curator_assets.engine.workers.process import serve; serve(*map(int, sys.argv[2:]))"
)
MEMORY = {
    "THP_MEM_ALLOC_ENABLE": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
"""How torch and glibc get memory in a worker: in huge pages, and kept for the next batch. Without,
two fifths of the encoder's CPU-seconds are page faults."""

_WHY_STOPPED = {
    DecodeError.HUNG: "was stopped: it took too long over an image",
    DecodeError.OUT_OF_MEMORY: "was stopped: it took too much memory",
}
_SENT_BY_OTHERS = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}


@dataclass(eq=False)
class DiedError(Exception):
    """A worker died in the middle of a task.

    Attributes:
        how: for a person.
        cause: what an image is blamed for that did it; None if it was killed from outside.
        suspects: content hashes of the images that may have done it: those that native code had
            one by one, which it is decoding that does so, and those that it had together.
    """

    how: str
    cause: DecodeError | None
    suspects: tuple[list[str], list[str]]

    def __str__(self) -> str:
        return self.how


class Worker:
    """A process that runs tasks, one at a time."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        in_flight = InFlight.create()
        lifeline, self._lifeline = os.pipe()
        given = (theirs.fileno(), in_flight, lifeline)
        command = [sys.executable, "-c", _START, json.dumps(sys.path), *map(str, given)]
        self._n_killed_for_memory = _killed_for_memory()
        self._process = subprocess.Popen(
            command,
            env=MEMORY | os.environ,
            pass_fds=given,
            stdin=subprocess.DEVNULL,
            stdout=2,  # what native code prints is none of our output
        )
        self._in_flight = InFlight(in_flight)
        self._stopped_for: DecodeError | None = None
        self._suspects, self._overdue = list[Flying](), list[Flying]()
        theirs.close()
        os.close(in_flight)
        os.close(lifeline)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it may be given a task."""
        return self._stopped_for is None and self._process.poll() is None

    def run(
        self,
        task: Task,
        next_partition: Callable[[], Partition | None],
        max_bytes: float,
        look: Callable[[], None],
    ) -> Iterator[Any]:
        """What a task gives, as it comes, and lines for the log.

        Args:
            task: what to do.
            next_partition: the next one to hand out, None if there is none.
            max_bytes: of memory that the process may take.
            look: called every now and then; what it raises ends the task.

        Raises:
            DiedError: the process died.
            Exception: whatever the task raised.
        """
        is_through, next_look = False, 0.0
        try:
            self._send(task)
            while True:
                if time.monotonic() >= next_look:
                    look()
                    self._look(max_bytes)
                    next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
                kind, what = self._heard()
                if kind is Tells.WANTS:
                    self._send(next_partition())
                elif kind is Tells.LOG:
                    yield Line(*what)
                elif kind is Tells.ITEM:
                    yield what
                elif kind is not None:
                    is_through = True
                    if kind is Tells.RAISED:
                        raise what
                    return
        finally:
            if not is_through:
                self.close()

    def close(self) -> None:
        """End the process; what it was at it may clean up for some seconds."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_END)
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _send(self, what: Any) -> None:
        try:
            self._connection.send(what)
        except OSError:
            raise self._death() from None

    def _heard(self) -> tuple[Tells | None, Any]:
        """The next message; none if there is none for a while."""
        try:
            if self._connection.poll(SECONDS_BETWEEN_LOOKS):
                kind, what = self._connection.recv()
                return kind, what
        except (EOFError, OSError):
            raise self._death() from None
        return None, None

    def _look(self, max_bytes: float) -> None:
        """Stop the process if it hangs or takes too much memory."""
        before, self._overdue = self._overdue, self._in_flight.overdue()
        if overdue := [flying for flying in self._overdue if flying in before]:
            self._stop(DecodeError.HUNG, overdue)
        elif _taken_bytes(self._process.pid) > max_bytes:
            self._stop(DecodeError.OUT_OF_MEMORY, self._in_flight.found())

    def _stop(self, cause: DecodeError, suspects: list[Flying]) -> None:
        self._stopped_for, self._suspects = cause, suspects
        self._process.kill()

    def _death(self) -> DiedError:
        try:
            code = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:  # it closed its end and lives
            self._process.kill()
            code = self._process.wait()
        cause = self._stopped_for
        suspects = self._in_flight.found() if cause is None else self._suspects
        how = f"ended with exit code {code}" if code >= 0 else f"died of {_signal_name(-code)}"
        if cause is not None:
            how = _WHY_STOPPED[cause]
        elif code == -signal.SIGKILL and _killed_for_memory() > self._n_killed_for_memory:
            cause, how = DecodeError.OUT_OF_MEMORY, "was killed by the kernel for want of memory"
        elif -code not in _SENT_BY_OTHERS:
            cause = DecodeError.CRASHED
        alone = dict.fromkeys(flying.name for flying in suspects if not flying.n_beside)
        others = dict.fromkeys(flying.name for flying in suspects if flying.name not in alone)
        return DiedError(how, cause, (list(alone), list(others)))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _taken_bytes(pid: int) -> int:
    """Memory of a process that no file stands behind; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    taken = dict(line.split(":", 1) for line in lines)
    return 1024 * sum(
        int(taken.get(n, "0 kB").split()[0]) for n in ("RssAnon", "RssShmem", "VmSwap")
    )


def _killed_for_memory() -> int:
    """How many processes of this machine the kernel has killed for want of memory."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
