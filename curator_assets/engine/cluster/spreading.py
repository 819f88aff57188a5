"""Partitions handed out to the members of a crew; those of a lost one are handed out again."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from curator_assets.engine.cluster.actor import Told
from curator_assets.engine.cluster.crew import Begun, Crew, Lost, Member, NoWorkerError
from curator_assets.engine.partitioning import ALL, Partition
from curator_assets.engine.stage import Failed
from curator_assets.engine.work import Work
from curator_assets.engine.workers.in_hand import InHand
from curator_assets.engine.workers.task import Line
from curator_assets.number_words import counted

MAX_TRIES = 3
"""So often a partition is begun by workers that are lost before it fails."""

SECONDS_BETWEEN_GUARDS = 5.0


@dataclass
class _AtWork:
    """What a member is at.

    Attributes:
        partitions: that it was given and has not finished.
        is_ending: it was told that no more will come.
    """

    partitions: InHand = field(default_factory=InHand)
    is_ending: bool = False


class Nothing:
    """Nobody told anything for a moment: whoever listens may end it."""


class Spreading:
    """One job, done by members of a crew.

    Args:
        crew: of actors.
        job: a reference to the `Job` in Ray's store.
        sent: a reference to the `SentWork` that it is done with.
        work: whose lease is looked after, and whose log is told.
        partitions: to be handed out; `ALL` alone is for one member, until its job is over.
    """

    def __init__(
        self, crew: Crew, job: Any, sent: Any, work: Work, partitions: Sequence[Partition]
    ) -> None:
        self._crew, self._job, self._sent, self._work = crew, job, sent, work
        self._todo, self._tries = deque(partitions), Counter[Partition]()
        self._at_work = dict[Member, _AtWork]()
        self._n_lost_in_a_row, self._next_guard = 0, 0.0

    def outcomes(self) -> Generator[Any, None, None]:
        """What the job gives, as it comes, and `Nothing`; the outcome of each partition once.

        Raises:
            LeaseLostError: another refresh has taken over the output.
            NoWorkerError: no worker of the cluster can be had.
            OtherMachineError: results would rest on where they are made.
            Exception: whatever the job raised.
        """
        try:
            while self._todo or self._at_work:
                self._look()
                yield Nothing()
                for member, told in self._crew.heard():
                    match told:
                        case Begun():
                            self._hand_out(member, is_hungry=True, n_waiting=0)  # as it will be
                        case Told():
                            yield from self._take_in(member, told)
                        case Lost():
                            yield from self._lost(member, told)
        finally:
            for member in self._at_work:  # it is in the midst of what nobody wants any more
                self._crew.end(member)

    def _look(self) -> None:
        """See to it that whoever can take part does, and that all of it is still wanted."""
        self._crew.grow(len(self._todo) + len(self._at_work))
        for member in self._crew.idle()[: len(self._todo)]:
            self._crew.begin(member, self._job, self._sent)
            self._at_work[member] = _AtWork()
            if self._todo[0] == ALL:
                self._at_work[member].partitions.take(self._todo.popleft())
        if time.monotonic() >= self._next_guard:
            self._work.store.require_guard()
            self._next_guard = time.monotonic() + SECONDS_BETWEEN_GUARDS

    def _hand_out(self, member: Member, *, is_hungry: bool, n_waiting: int) -> None:
        """Give a member the next partition if it needs one, or one to have at hand."""
        hand = self._at_work[member]
        may_wait = len(self._todo) > len(self._at_work)  # or others would idle while it waits
        given = list[Partition]()
        if hand.is_ending:
            may_wait = False
        elif not self._todo:
            hand.is_ending = is_hungry
        elif self._tries[self._todo[0]] == MAX_TRIES - 1:  # alone: it may be what workers die of
            may_wait = False
            if not hand.partitions:
                given = [self._todo.popleft()]
            hand.is_ending = is_hungry or bool(given)
        elif is_hungry or (may_wait and not n_waiting):
            given = [self._todo.popleft()]
        for partition in given:
            hand.partitions.take(partition)
        self._crew.exchange(member, given, is_last=hand.is_ending, wants_ahead=may_wait)

    def _take_in(self, member: Member, told: Told) -> Iterator[Any]:
        hand = self._at_work[member]
        if told.items:
            self._n_lost_in_a_row = 0
        for item in told.items:
            if isinstance(item, Line):
                self._work.log.log(item.level, "%s", item.text)
                continue
            hand.partitions.count(item)
            yield item
        if not told.is_over:
            self._hand_out(member, is_hungry=told.is_hungry, n_waiting=told.n_waiting)
            return
        del self._at_work[member]
        self._crew.rest(member)
        if told.error:
            raise told.error
        for partition in hand.partitions:
            if partition != ALL:
                yield Failed(partition, "the worker's job ended without a word of it")

    def _lost(self, member: Member, lost: Lost) -> Iterator[Any]:
        hand = self._at_work.pop(member)
        self._work.log.warning(
            "a worker on machine %s of the cluster is lost (%s): %s in its hands; left: %s",
            member.machine,
            lost.why,
            counted(len(hand.partitions), "partition"),
            self._crew.where(),
        )
        self._n_lost_in_a_row += 1
        if self._n_lost_in_a_row > MAX_TRIES * (1 + self._crew.n_places):
            raise NoWorkerError(
                f"{self._n_lost_in_a_row} workers of the cluster were lost in a row, and none of "
                f"them got anything done, the last: {lost.why}"
            )
        yield from hand.partitions.counted_back()
        for partition in hand.partitions:
            self._tries[partition] += 1
            if self._tries[partition] < MAX_TRIES:
                is_suspect = self._tries[partition] == MAX_TRIES - 1
                (self._todo.append if is_suspect else self._todo.appendleft)(partition)
                continue
            told = f"{MAX_TRIES} workers of the cluster were lost over it, the last: {lost.why}"
            if partition == ALL:
                raise NoWorkerError(told)
            yield Failed(partition, told)
