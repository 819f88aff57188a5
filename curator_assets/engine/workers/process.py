"""The worker's side: a process that runs one task after the other until nobody listens."""

from __future__ import annotations

import fcntl
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from curator_assets.engine.making import with_files
from curator_assets.engine.partitioning import Partition
from curator_assets.engine.stage import Made
from curator_assets.engine.work import Work
from curator_assets.engine.workers.in_flight import InFlight
from curator_assets.engine.workers.task import Supervision, Task, Tells

_F_SETSIG = 10  # of Linux; `fcntl` has no name for it
_FIRST_TO_GO = "500"
_LOGGER = "curator_assets"


def serve(connection_fd: int, in_flight_fd: int, lifeline_fd: int) -> None:
    """Run tasks until the other end of the connection is closed.

    Args:
        connection_fd: a pipe to the supervisor, both ways.
        in_flight_fd: of `InFlight.create`.
        lifeline_fd: the end of a pipe of which the supervisor alone has the other.
    """
    _die_with(lifeline_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    with suppress(OSError):  # where memory ends, rather this process than the refresh
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    teller = _Teller(Connection(connection_fd), InFlight(in_flight_fd))
    logger = logging.getLogger(_LOGGER)
    logger.addHandler(teller)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with suppress(_NobodyListens):
        while True:
            teller.answer(teller.heard())


def _die_with(lifeline_fd: int) -> None:
    """Have the kernel kill this process once nobody holds the other end of a pipe."""
    fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline_fd, _F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline_fd, fcntl.F_GETFL)
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        if not os.read(lifeline_fd, 1):  # it was let go of before the kernel was asked
            os.kill(os.getpid(), signal.SIGKILL)


class _NobodyListens(BaseException):
    """The supervisor has closed the connection; no error of what runs."""


class _Teller(logging.Handler):
    """Tells the supervisor what comes about; from any thread."""

    def __init__(self, connection: Connection, in_flight: InFlight) -> None:
        super().__init__()
        self._connection, self._in_flight = connection, in_flight
        self._sending = threading.Lock()

    def heard(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise _NobodyListens from None

    def tell(self, kind: Tells, what: Any = None) -> None:
        with self._sending:
            try:
                self._connection.send((kind, what))
            except OSError:
                raise _NobodyListens from None

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(Tells.LOG, (record.levelno, self.format(record)))

    def answer(self, task: Task) -> None:
        """Run a task and tell what it gives."""
        try:
            work = task.work(logging.getLogger(f"{_LOGGER}.worker"))
            watch = partial(self._in_flight.hold, work.settings.workers.max_seconds_per_image)
            supervision = Supervision(task.blamed, task.suspects, watch, in_worker=True)
            with (
                task.sent.guarded(work),
                closing(task.run(work, self._partitions(), supervision)) as items,
            ):
                for item in given(items, work):
                    self.tell(Tells.ITEM, item)
        except Exception as error:  # raised where the task was given
            error.add_note("".join(traceback.format_exception(error)))
            self.tell(Tells.RAISED, portable(error))
        else:
            self.tell(Tells.DONE)
        _let_go_of_device_memory()

    def _partitions(self) -> Iterator[Partition]:
        while True:
            self.tell(Tells.WANTS)
            partition = self.heard()
            if partition is None:
                return
            yield partition


def given(items: Iterator[Any], work: Work) -> Iterator[Any]:
    """The items; partitions that were made with what their files hold."""
    for item in items:
        yield with_files(item, item.files or (), work) if isinstance(item, Made) else item


def portable(error: Exception) -> Exception:
    """The error, or one that says the same and can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a library puts into its errors
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _let_go_of_device_memory() -> None:
    """What torch keeps for later is of use to the refresh, which works on the same device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
