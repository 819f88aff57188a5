"""One pass over the stages: what is stale is made, and what changed is reported."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from curator_assets.engine.freshness import Examined, all_fresh, examine
from curator_assets.engine.making import Recorded, make
from curator_assets.engine.partitioning import Partition, Partitioning
from curator_assets.engine.rates import note
from curator_assets.engine.stage import External, Failed, Observed, Stage, goes_by_partition
from curator_assets.engine.steps import Step
from curator_assets.engine.work import Work
from curator_assets.storage.ledger import Entry


class Reporter(Protocol):
    """Turns what was done about a stage into events."""

    @property
    def changed(self) -> Collection[Partition]:
        """The partitions that are reported as others now, whether or not they were made."""

    def outcome(self, outcome: Recorded | Failed | Observed) -> Iterator[Any]:
        """The events of one outcome."""

    def fresh(self, fresh: Mapping[Partition, Entry], due: Container[Partition]) -> Iterator[Any]:
        """The events of partitions that were found fresh, where one is due or none was seen yet."""

    def close(self) -> Iterator[Any]:
        """The events that were held back."""


class Steps(Protocol):
    """Who is told of the steps of a refresh."""

    def passed(self, line: str) -> None:
        """There is nothing to do in a step."""

    def begun(self, step: Step, line: str) -> None:
        """A step begins."""

    def ended(self, step: Step, line: str) -> None:
        """A step is over."""


@dataclass
class Pass:
    """One pass over the stages, in their order.

    Attributes:
        force: everything that may be made is made again.
        told: told of each step.
        chosen: the shards that stages by shard are limited to; None for all.
        made: the partitions of each stage that were made.
        failed: what could not be made, by stage.
        waiting: stages that are made from something which was not chosen.
        steps: what was done about each stage.
    """

    work: Work
    force: bool
    told: Steps
    chosen: frozenset[str] | None = None
    made: dict[Stage, set[Partition]] = field(default_factory=dict)
    failed: dict[Stage, list[Failed]] = field(default_factory=dict)
    waiting: list[Stage] = field(default_factory=list)
    steps: dict[Stage, Step] = field(default_factory=dict)
    _left: dict[Stage | External, set[Partition]] = field(default_factory=dict)
    _told: dict[Stage, set[Partition]] = field(default_factory=dict)

    def through(
        self, stages: Iterable[Stage], reporter: Callable[[Stage], Reporter]
    ) -> Iterator[Any]:
        """Make what is stale of some stages, each after those that it is made from.

        Where a damaged file is met, all begins anew: what made it is stale from then on.
        """
        left = list(stages)
        self.steps = {stage: Step(stage, i + 1, len(left)) for i, stage in enumerate(left)}
        gc.freeze()  # or all that is there is looked through for garbage again and again
        try:
            while left:
                n_forgotten = len(self.work.forgotten)
                yield from self.over(left[0], reporter(left[0]))
                left.pop(0)
                if len(self.work.forgotten) > n_forgotten:
                    left = list(stages)
                    self.failed, self.waiting, self._left = {}, [], {}
        finally:
            gc.unfreeze()

    def over(self, stage: Stage, reporter: Reporter) -> Iterator[Any]:
        """Make the stale partitions of a stage; what failed before is not tried further down."""
        step, started = self.steps[stage], time.monotonic()
        out = self._lost(stage) | self._waits(stage)
        partitions = [p for p in self.work.partitions(stage) if p not in out]
        examined = self._examined(stage, partitions)
        gc.freeze()  # likewise
        to_make = [*examined.stale, *examined.undecided]
        step.n_lacking = 0 if stage in self.waiting else len(out)
        line = step.begun(examined)
        if to_make or examined.failed:
            self.told.begun(step, line)
        elif stage not in self.waiting:
            self.told.passed(line)
        # or Dagster would mark it stale, or as missing if a kill came between work and event
        yield from reporter.fresh(examined.fresh, self._touched(stage))
        failed, made, making = list(examined.failed), set[Partition](), time.monotonic()
        for one in failed:
            yield from reporter.outcome(one)
        for outcome in make(stage, to_make, self.work):
            yield from reporter.outcome(outcome)
            if isinstance(outcome, Failed):
                failed.append(outcome)
            elif isinstance(outcome, Recorded):
                made.add(outcome.partition)
                self.made.setdefault(stage, set()).add(outcome.partition)
        if failed:
            self.failed[stage] = failed
        elif made:
            note(stage, self.work, made, time.monotonic() - making)
        yield from reporter.close()
        self._told.setdefault(stage, set()).update(made, reporter.changed)
        seconds = time.monotonic() - started
        step.n_made, step.n_failed = step.n_made + len(made), len(failed)
        step.n_fresh, step.seconds = len(examined.fresh), step.seconds + seconds
        if to_make or examined.failed:
            self.told.ended(step, step.ended(len(made), len(failed), seconds))

    def _lost(self, stage: Stage) -> set[Partition]:
        """The partitions of a stage that are made from one that failed, and from no other."""
        mine = (failed for dep, failed in self.failed.items() if goes_by_partition(stage, dep))
        return {one.partition for failed in mine for one in failed}

    def _touched(self, stage: Stage) -> set[Partition]:
        """The partitions of a stage that have an input of which this pass told something new."""
        partitions = set(self.work.partitions(stage))
        touched = set[Partition]()
        for dep in stage.stages():
            told = self._told.get(dep, set())
            is_mine = goes_by_partition(stage, dep)
            touched |= told & partitions if is_mine else partitions if told else set()
        return touched

    def _examined(self, stage: Stage, partitions: list[Partition]) -> Examined:
        """Some partitions; those that are stale and were not chosen are left as they are."""
        if self.chosen is None or stage.by is not Partitioning.SHARD:
            return examine(stage, self.work, partitions, force=self.force and not self.chosen)
        chosen = [p for p in partitions if p in self.chosen]
        others = examine(stage, self.work, [p for p in partitions if p not in self.chosen])
        self._left[stage] |= {
            *others.stale,
            *others.undecided,
            *(f.partition for f in others.failed),
        }
        examined = examine(stage, self.work, chosen, force=self.force)
        examined.fresh.update(others.fresh)
        return examined

    def _waits(self, stage: Stage) -> set[Partition]:
        """The partitions of a stage that are made from one that was left as it is."""
        partitions, found = set(self.work.partitions(stage)), set[Partition]()
        asked = partitions
        if self.chosen is not None and stage.by is Partitioning.SHARD:
            asked = partitions & self.chosen
        for dep in stage.deps:
            left = self._left.get(dep.stage)
            if isinstance(dep.stage, External) or not left:
                continue
            if dep.is_sampled and all_fresh(stage, self.work):
                continue
            waits = left & partitions if goes_by_partition(stage, dep.stage) else partitions
            found |= waits
        if found & asked:
            self.waiting.append(stage)
        self._left[stage] = found
        return set(found)
