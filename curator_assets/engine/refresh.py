"""One pass over the stages: what is stale is made, and what changed is reported."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from curator_assets.engine.freshness import Examined, all_fresh, examine
from curator_assets.engine.making import Recorded, make
from curator_assets.engine.partitioning import Partition, Partitioning
from curator_assets.engine.rates import note
from curator_assets.engine.stage import External, Failed, Observed, Stage, goes_by_partition
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


@dataclass
class Pass:
    """One pass over the stages, in their order.

    Attributes:
        force: everything that may be made is made again.
        chosen: the shards that stages by shard are limited to; None for all.
        made: the partitions of each stage that were made.
        failed: what could not be made, by stage.
        waiting: stages that are made from something which was not chosen.
    """

    work: Work
    force: bool
    chosen: frozenset[str] | None = None
    made: dict[Stage, set[Partition]] = field(default_factory=dict)
    failed: dict[Stage, list[Failed]] = field(default_factory=dict)
    waiting: list[Stage] = field(default_factory=list)
    _left: dict[Stage | External, set[Partition]] = field(default_factory=dict)
    _told: dict[Stage, set[Partition]] = field(default_factory=dict)

    def through(
        self, stages: Iterable[Stage], reporter: Callable[[Stage], Reporter]
    ) -> Iterator[Any]:
        """Make what is stale of some stages, each after those that it is made from.

        Where a damaged file is met, all begins anew: what made it is stale from then on.
        """
        left = list(stages)
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
        out = self._lost(stage) | self._waits(stage)
        partitions = [p for p in self.work.partitions(stage) if p not in out]
        examined = self._examined(stage, partitions)
        gc.freeze()  # likewise
        self._log(stage, examined)
        # or Dagster would mark it stale, or as missing if a kill came between work and event
        yield from reporter.fresh(examined.fresh, self._touched(stage))
        failed, made, started = list(examined.failed), set[Partition](), time.monotonic()
        for one in failed:
            yield from reporter.outcome(one)
        for outcome in make(stage, [*examined.stale, *examined.undecided], self.work):
            yield from reporter.outcome(outcome)
            if isinstance(outcome, Failed):
                failed.append(outcome)
            elif isinstance(outcome, Recorded):
                made.add(outcome.partition)
                self.made.setdefault(stage, set()).add(outcome.partition)
        if failed:
            self.failed[stage] = failed
        elif made:
            note(stage, self.work, made, time.monotonic() - started)
        yield from reporter.close()
        self._told.setdefault(stage, set()).update(made, reporter.changed)

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

    def _log(self, stage: Stage, examined: Examined) -> None:
        if stage in self.waiting and not examined.stale:
            return
        reasons = Counter(examined.stale.values())
        why = "".join(f"; {n} {reason}" for reason, n in reasons.most_common(5))
        n_fresh, n_stale = len(examined.fresh), len(examined.stale) + len(examined.undecided)
        why += f"; {len(examined.failed)} can't be made" if examined.failed else ""
        self.work.log.info("%s: %d fresh, %d to make%s", stage.name, n_fresh, n_stale, why)
