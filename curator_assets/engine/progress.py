"""Long work says how far it is, at a rate that a person can read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Self

from curator_assets.engine.partitioning import Partition

SECONDS_BETWEEN_LINES = 10.0


class Watch:
    """Who is told how far the work is, while it is done; this one does nothing about it."""

    def begun(self, progress: Progress) -> None:
        """Partitions of a stage are about to be made."""

    def advanced(self, progress: Progress) -> None:
        """Rows or a partition are done."""

    def ended(self, progress: Progress) -> None:
        """All partitions of the stage are made or have failed."""


class Progress:
    """How far the work on some partitions of a stage is; the log has a line every ten seconds.

    Args:
        name: of the stage.
        unit: what is counted, in the plural.
        weights: partition -> how much of the work it is: bytes of its tar, where it has one.
        log: of the run; lines about progress have the attribute `is_progress`.
        watch: told of every step.
        where: how many machines are at it, in words; empty if it is this one.

    Attributes:
        n_finished: partitions.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        weights: Mapping[Partition, float],
        log: logging.Logger,
        watch: Watch,
        where: Callable[[], str] = str,
    ) -> None:
        self.name = name
        self.unit = unit
        self.n_finished = 0
        self._weights = weights
        self._total = sum(weights.values())
        self._finished = 0.0
        self._begun = dict[Partition, float]()
        self._n = 0
        self._log = log
        self._watch, self.where = watch, where
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._watch.begun(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.ended(self)

    @property
    def n_partitions(self) -> int:
        """How many there are."""
        return len(self._weights)

    @property
    def share(self) -> float:
        """Of the work that is done, 0-1."""
        if self.n_finished == self.n_partitions:
            return 1.0
        return (self._finished + sum(self._begun.values())) / max(self._total, 1e-9)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @property
    def per_second(self) -> float:
        """Units a second since the start."""
        return self._n / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None as long as nothing is done."""
        return self.seconds * (1 - self.share) / self.share if self.share else None

    def advance(self, partition: Partition, n: int, weight: float) -> None:
        """Count `n` more units of a partition, and so much of its weight; less if some are lost."""
        self._n += n
        begun = self._begun.get(partition, 0.0) + weight
        self._begun[partition] = max(0.0, min(begun, self._weights.get(partition, 0.0)))
        self._tell()

    def finish(self, partition: Partition, n: int = 0) -> None:
        """Count a partition as finished, and `n` units of it that were not counted before."""
        self._n += n
        self.n_finished += 1
        self._begun.pop(partition, None)
        self._finished += self._weights.get(partition, 0.0)
        self._tell()

    def _tell(self) -> None:
        self._watch.advanced(self)
        now = time.monotonic()
        is_all = self.n_finished == self.n_partitions
        is_one = self.n_partitions == 1 and self._n <= 1  # and has no pace
        if is_one or (not is_all and now - self._last_line < SECONDS_BETWEEN_LINES):
            return
        self._last_line, left = now, self.seconds_left
        self._log.info(
            "%s: %d %s, %.1f/s%s; %d of %d partitions finished (%d %%)%s",
            self.name,
            self._n,
            self.unit,
            self.per_second,
            f" by {where}" if (where := self.where()) else "",
            self.n_finished,
            self.n_partitions,
            100 * self.share,
            f", {duration(left)} left" if left else "",
            extra={"is_progress": True},
        )


def duration(seconds: float) -> str:
    """A time as a person says it: `40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
