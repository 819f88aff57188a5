"""Work in processes that may die of it: a worker on each device, what killed it found and named.

A worker that died is replaced, and the partitions that it was at are made again. The images that it
had in hand are tried before, in halves, in another worker; one that alone brings down two fresh
workers is blamed: it is not touched again, and its row says what it did.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from threading import Event, Lock
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from curator_assets.engine.allotment import memory_bytes
from curator_assets.engine.partitioning import Partition
from curator_assets.engine.stage import Failed
from curator_assets.engine.work import Work
from curator_assets.engine.workers.idle import give_back, take
from curator_assets.engine.workers.in_hand import InHand
from curator_assets.engine.workers.process import given
from curator_assets.engine.workers.task import Line, Run, Supervision, Task
from curator_assets.engine.workers.worker import DiedError
from curator_assets.kernels.ahead import merged
from curator_assets.kernels.image_format import DecodeError

MAX_DEATHS_IN_VAIN = 5
"""So often in a row a worker may die before what it was at is given up."""

_N_AHEAD = 64
_SECONDS_BETWEEN_GUARDS = 5.0
_SHARE_OF_MEMORY = 0.8

_WAYS_OUT = {
    DecodeError.HUNG: "raise workers.max_seconds_per_image if images may take longer, and ",
    DecodeError.OUT_OF_MEMORY: "raise workers.max_memory_gib if the model needs more, and ",
}


class WorkerDiedError(RuntimeError):
    """Workers died one after the other, and nothing that they were at explains it."""


def runs_here(work: Work) -> bool:
    """Whether no other process sees where the work reads or writes, so that it is done in this one.

    fsspec's filesystem in memory is such a place.
    """
    return any(isinstance(place.fs, MemoryFileSystem) for place in (work.tars, work.store))


def supervised(
    run: Run, trial: Run, work: Work, partitions: Iterable[Partition], devices: Sequence[str]
) -> Iterator[Any]:
    """What a function gives that runs in a worker on each device; each takes what is left.

    Args:
        run: makes partitions; what it makes comes out as `Finished`.
        trial: touches the suspects that lie in some partitions, as `run` would; gives nothing.
        work: its settings and storage are taken along; its log is told what workers tell.
        partitions: to be made; of an iterator each is taken once a worker wants it.
        devices: torch devices.

    Raises:
        WorkerDiedError: no worker lives long enough to begin.
        LeaseLostError: another refresh has taken over the output.
        Exception: whatever the function raised.
    """
    if runs_here(work):
        warning = "images are decoded in this process, which a bad one may end"
        work.once(runs_here, partial(work.log.warning, warning))
        yield from given(run(work, iter(partitions), Supervision()), work)
        return
    todo, max_bytes, stopped = _Todo(partitions), _max_bytes(work, len(devices)), Event()
    streams = [
        _Supervisor(run, trial, work, todo, device, max_bytes, stopped).outcomes()
        for device in devices
    ]
    with closing(merged(streams, _N_AHEAD, "supervise")) as items:
        try:
            for item in items:
                if isinstance(item, Line):
                    work.log.log(item.level, "%s", item.text)
                else:
                    yield item
        finally:
            stopped.set()


class _Todo:
    """Partitions that nobody is at; for the threads of several workers."""

    def __init__(self, partitions: Iterable[Partition]) -> None:
        is_all_known = isinstance(partitions, Sequence)
        self._known = deque[Partition](partitions if is_all_known else ())
        self._coming = iter(() if is_all_known else partitions)
        self._asking = Lock()

    def __iter__(self) -> Iterator[Partition]:
        """Those that are known by now."""
        return iter(list(self._known))

    def next(self) -> Partition | None:
        """One to begin; None if there is none, and none will come."""
        with suppress(IndexError):
            return self._known.popleft()
        with self._asking:
            return next(self._coming, None)

    def put_back(self, partitions: Iterable[Partition]) -> None:
        """Have some begun anew, and first."""
        self._known.extendleft(reversed(list(partitions)))


class _StoppedError(Exception):
    """Nobody wants what comes any more."""


class _Supervisor:
    """Of the worker on one device."""

    def __init__(
        self,
        run: Run,
        trial: Run,
        work: Work,
        todo: _Todo,
        device: str,
        max_bytes: float,
        stopped: Event,
    ) -> None:
        self._run, self._trial = run, trial
        self._work, self._device, self._max_bytes = work, device, max_bytes
        self._todo, self._stopped = todo, stopped
        self._begun = InHand()
        self._next_look = 0.0

    def outcomes(self) -> Iterator[Any]:
        """What the function gives, each partition once, and lines for the log."""
        n_in_vain = 0
        while True:
            try:
                for item in self._in_worker(self._task(self._run), self._next):
                    if self._begun.count(item):
                        n_in_vain = 0
                    yield item
                return
            except DiedError as death:
                yield Line(logging.WARNING, f"the process that works on {self._device} {death}")
                yield from self._begun.counted_back()
                likeliest_first = filter(None, death.suspects if death.cause else ())
                culprit = next(filter(None, map(self._culprit, likeliest_first)), None)
                n_in_vain = 0 if culprit else n_in_vain + 1
                if culprit:
                    name, cause = culprit
                    self._work.blamed[name] = cause
                    yield Line(
                        logging.WARNING, f"one image does that alone ({cause}): content hash {name}"
                    )
                elif n_in_vain == MAX_DEATHS_IN_VAIN:
                    n_in_vain = 0
                    yield self._given_up(death)
                self._todo.put_back(self._begun)
                self._begun.clear()

    def _task(self, run: Run, suspects: Sequence[str] | None = None) -> Task:
        only = None if suspects is None else frozenset(suspects)
        return Task.of(run, self._work, self._device, only)

    def _in_worker(self, task: Task, next_partition: Callable[[], Partition | None]) -> Any:
        """What a task gives in a worker, which is kept if it lives."""
        is_alone = task.suspects is not None and len(task.suspects) == 1
        worker = take(self._device, fresh=is_alone)
        try:
            yield from worker.run(task, next_partition, self._max_bytes, self._look)
        finally:
            if worker.is_alive():
                give_back(self._device, worker)
            else:
                worker.close()

    def _next(self) -> Partition | None:
        partition = self._todo.next()
        if partition is not None:
            self._begun.take(partition)
        return partition

    def _look(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        if time.monotonic() >= self._next_look:
            self._work.store.require_guard()
            self._next_look = time.monotonic() + _SECONDS_BETWEEN_GUARDS

    def _given_up(self, death: DiedError) -> Failed:
        """The partition that was begun first, for the others were only read ahead."""
        way_out = _WAYS_OUT.get(death.cause, "") if death.cause else ""
        told = (
            f"the process that works on {self._device} {death}, {MAX_DEATHS_IN_VAIN} times in a "
            f"row, and no image that it had in hand does that alone; {way_out}run it again"
        )
        if not self._begun:
            raise WorkerDiedError(told)
        partition = next(iter(self._begun))
        del self._begun[partition]
        return Failed(partition, told)

    def _culprit(self, suspects: Sequence[str]) -> tuple[str, str] | None:
        """The first image that alone brings down two fresh workers, and what it is blamed for."""
        if len(suspects) == 1:
            causes = [cause for _ in range(2) if (cause := self._tried(suspects))]
            return (suspects[0], causes[-1]) if len(causes) == 2 else None
        middle = (len(suspects) + 1) // 2
        for half in filter(None, (suspects[:middle], suspects[middle:])):
            if (len(half) == 1 or self._tried(half)) and (found := self._culprit(half)):
                return found
        return None

    def _tried(self, suspects: Sequence[str]) -> str | None:
        """What becomes of a worker that touches only these images.

        Returns:
            None if it lives, or died before it had one of them in hand.
        """
        task = self._task(self._trial, suspects)
        for _ in range(MAX_DEATHS_IN_VAIN):
            partitions = iter(list(self._begun or self._todo))
            try:
                for _ in self._in_worker(task, partial(next, partitions, None)):
                    pass
                return None
            except DiedError as death:
                if death.cause is None:
                    continue
                had_them = not set(suspects).isdisjoint(chain(*death.suspects))
                return death.cause if had_them else None
        return None


def _max_bytes(work: Work, n_devices: int) -> float:
    """Of memory that each worker may take."""
    setting = work.settings.workers.max_memory_gib
    if setting != "auto":
        return setting * 2**30
    return _SHARE_OF_MEMORY * memory_bytes() / n_devices
