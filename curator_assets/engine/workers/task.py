"""What a worker is asked to do, and what it tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from curator_assets.engine.partitioning import Partition
from curator_assets.engine.sent_work import SentWork
from curator_assets.engine.work import Work
from curator_assets.kernels.watching import ImageWatch


def _nobody_watches(names: Sequence[str]) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Supervision:
    """What a function that runs in a worker is told about images.

    Attributes:
        blamed: content hash -> why the image is not to be touched.
        suspects: the content hashes of the only images that are to be touched; None for all.
        watch: a context in which native code may do whatever it does with images, given their
            content hashes.
        in_worker: whether there is a supervisor at all.
    """

    blamed: Mapping[str, str] = field(default_factory=dict)
    suspects: frozenset[str] | None = None
    watch: Callable[[Sequence[str]], AbstractContextManager[None]] = _nobody_watches
    in_worker: bool = False

    def may_be_touched(self, name: str | None) -> bool:
        """Whether native code may see the image of this content hash."""
        return name not in self.blamed and (self.suspects is None or name in self.suspects)

    def watching(self, names: Sequence[str]) -> ImageWatch:
        """What a decoder or an encoder is given with images of these content hashes."""
        return lambda rows: self.watch([names[row] for row in rows])


Run = Callable[[Work, Iterator[Partition], Supervision], Generator[Any, None, None]]
"""Makes partitions as they are handed out; a function of a module, or a partial of one."""


@dataclass(frozen=True)
class Task:
    """A call of a function in a worker.

    Attributes:
        run: the function.
        sent: what it works with.
        device: to work on.
        hashes: of files of weights that were read before.
        blamed: content hash -> why the image is not to be touched.
        suspects: the content hashes of the only images that are to be touched; None for all.
    """

    run: Run
    sent: SentWork
    device: str
    hashes: dict[str, Any]
    blamed: Mapping[str, str]
    suspects: frozenset[str] | None

    @classmethod
    def of(
        cls,
        run: Run,
        work: Work,
        device: str,
        suspects: frozenset[str] | None = None,
    ) -> Task:
        """A call for some work, on a device."""
        return cls(
            run=run,
            sent=SentWork.of(work),
            device=device,
            hashes=work.weights.hashes.known,
            blamed=dict(work.blamed),
            suspects=suspects,
        )

    def work(self, log: logging.Logger) -> Work:
        """The work, in the worker."""
        work = self.sent.work(log, self.device)
        work.weights.hashes.remember(self.hashes)
        return work


class Tells(Enum):
    """What a message of a worker is."""

    ITEM = auto()
    """Something that the function gave."""
    WANTS = auto()
    """It asks for the next partition; the answer is one, or None if there is none."""
    LOG = auto()
    """A level and a line for the log."""
    RAISED = auto()
    """The function ended with this error."""
    DONE = auto()
    """The function has ended."""


@dataclass(frozen=True)
class Line:
    """A line for the log of the run."""

    level: int
    text: str
