"""The worker's side: one Ray actor, which does one job after the other.

This module is what Ray loads first on a machine, so it imports nothing that counts its threads.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curator_assets.engine.cluster.machine_state import MachineState
    from curator_assets.engine.sent_work import SentWork
    from curator_assets.engine.work import Job

SECONDS_TO_ANSWER = 1.0
"""After which an exchange ends with nothing to tell, so that the driver can look around."""

_LOGGER = "curator_assets"


@dataclass(frozen=True)
class Told:
    """What an actor tells.

    Attributes:
        items: what the job gave since the last time, and lines for the log.
        is_hungry: the job waits for a partition.
        n_waiting: partitions that wait for the job.
        is_over: the job is through.
        error: that it raised, if it did.
    """

    items: list[Any]
    is_hungry: bool
    n_waiting: int
    is_over: bool
    error: Exception | None


class Actor:
    """Makes partitions as it is handed them.

    Args:
        n_cores: of its machine, that are its own.
        memory_fraction: likewise, 0-1.
    """

    def __init__(self, n_cores: int, memory_fraction: float) -> None:
        from curator_assets.engine.allotment import allot

        allot(n_cores, memory_fraction)
        self._running: _Running | None = None

    def state(self, sent: SentWork) -> MachineState:
        """What of this machine results rest on."""
        from curator_assets.engine.cluster.machine_state import state_of

        return state_of(sent.work(logging.getLogger(_LOGGER)), sent.held)

    def begin(self, job: Job, sent: SentWork) -> None:
        """Begin a job; what it gives is told by `exchange`."""
        self._running = _Running(job, sent)

    def exchange(self, given: Sequence[str], *, is_last: bool, wants_ahead: bool) -> Told:
        """Hand out partitions, and hear what came about; waits a moment for that.

        Args:
            given: partitions, for the job.
            is_last: no more will come.
            wants_ahead: have it told as well when none waits for the job, hungry or not.
        """
        assert self._running is not None, "no job was begun"
        return self._running.exchange(given, is_last=is_last, wants_ahead=wants_ahead)


class _Running:
    """A job in a thread of its own."""

    def __init__(self, job: Job, sent: SentWork) -> None:
        self._job, self._sent = job, sent
        self._changed = threading.Condition()
        self._waiting, self._items = deque[str](), list[Any]()
        self._is_hungry = self._is_last = self._is_over = False
        self._error: Exception | None = None
        threading.Thread(target=self._run, name="job", daemon=True).start()

    def exchange(self, given: Sequence[str], *, is_last: bool, wants_ahead: bool) -> Told:
        with self._changed:
            self._waiting += given
            self._is_hungry &= not given
            self._is_last |= is_last
            self._changed.notify_all()
            deadline = time.monotonic() + SECONDS_TO_ANSWER
            while not self._has_news(wants_ahead=wants_ahead):
                if not self._changed.wait(deadline - time.monotonic()):
                    break
            items, self._items = self._items, []
            n_waiting = len(self._waiting)
            return Told(items, self._is_hungry, n_waiting, self._is_over, self._error)

    def _has_news(self, *, wants_ahead: bool) -> bool:
        wants_some = self._is_hungry or (wants_ahead and not self._waiting)
        return bool(self._items) or self._is_over or (wants_some and not self._is_last)

    def _partitions(self) -> Iterator[str]:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._is_last:
                        return
                    self._is_hungry = True
                    self._changed.notify_all()
                    self._changed.wait()
                partition = self._waiting.popleft()
                self._changed.notify_all()
            yield partition

    def _tell(self, item: Any) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def _run(self) -> None:
        from contextlib import closing

        from curator_assets.engine.workers.process import portable

        log = logging.getLogger(_LOGGER)  # also what modules log of storage that is away
        handler, error = _LinesToDriver(self._tell), None
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            work = self._sent.work(logging.getLogger(f"{_LOGGER}.actor"))
            with self._sent.guarded(work), closing(work.held):
                for item in self._job(work, self._partitions()):
                    self._tell(item)
        except BaseException as raised:  # raised where the job was given
            raised.add_note("".join(traceback.format_exception(raised)))
            error = portable(
                raised if isinstance(raised, Exception) else RuntimeError(repr(raised))
            )
        finally:
            log.removeHandler(handler)
            with self._changed:
                self._error, self._is_over = error, True
                self._changed.notify_all()


class _LinesToDriver(logging.Handler):
    """Tells the driver what is logged."""

    def __init__(self, tell: Any) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        from curator_assets.engine.workers.task import Line

        self._tell(Line(record.levelno, self.format(record)))
