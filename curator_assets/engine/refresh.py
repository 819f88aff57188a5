"""One pass over the stages: what is stale is made, and what changed is reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from curator_assets.engine.freshness import Examined, examine
from curator_assets.engine.making import Recorded, make
from curator_assets.engine.partitioning import Partition
from curator_assets.engine.stage import Failed, Observed, Stage, goes_by_partition
from curator_assets.engine.work import Work
from curator_assets.storage.ledger import Entry


class Reporter(Protocol):
    """Turns what was done about a stage into events."""

    def reported(self) -> set[Partition]:
        """The partitions that are known to be made."""

    def outcome(self, outcome: Recorded | Failed | Observed) -> Iterator[Any]:
        """The events of one outcome."""

    def fresh(self, partition: Partition, entry: Entry) -> Iterator[Any]:
        """The events of a partition that was found fresh."""

    def close(self) -> Iterator[Any]:
        """The events that were held back."""


@dataclass
class Pass:
    """One pass over the stages, in their order.

    Attributes:
        force: everything is made again.
        made: the partitions of each stage that were made.
        failed: what could not be made.
        failed_in: its partitions by stage.
    """

    work: Work
    force: bool
    made: dict[Stage, set[Partition]] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    failed_in: dict[Stage, set[Partition]] = field(default_factory=dict)

    def over(self, stage: Stage, reporter: Reporter) -> Iterator[Any]:
        """Make the stale partitions of a stage; what failed before is not tried further down."""
        lost = self._lost(stage)
        partitions = [p for p in self.work.partitions(stage) if p not in lost]
        examined = examine(stage, self.work, partitions, force=self.force)
        self._log(stage, examined)
        touched, reported = self._touched(stage), reporter.reported()
        for partition, entry in examined.fresh.items():
            # or Dagster would mark it stale, or as missing if a kill came between work and event
            if partition in touched or partition not in reported:
                yield from reporter.fresh(partition, entry)
        made = self.made.setdefault(stage, set())
        for failed in examined.failed:
            self._fail(stage, failed)
        for outcome in make(stage, [*examined.stale, *examined.undecided], self.work):
            yield from reporter.outcome(outcome)
            if isinstance(outcome, Failed):
                self._fail(stage, outcome)
            elif isinstance(outcome, Recorded):
                made.add(outcome.partition)
        yield from reporter.close()

    def _fail(self, stage: Stage, failed: Failed) -> None:
        self.failed.append(failed)
        self.failed_in.setdefault(stage, set()).add(failed.partition)

    def _lost(self, stage: Stage) -> set[Partition]:
        """The partitions of a stage that are made from one that failed, and from no other."""
        mine = (ps for failed, ps in self.failed_in.items() if goes_by_partition(stage, failed))
        return set().union(*mine)

    def _touched(self, stage: Stage) -> set[Partition]:
        """The partitions of a stage that have an input which this pass has made."""
        partitions = set(self.work.partitions(stage))
        touched = set[Partition]()
        for dep in stage.stages():
            made = self.made.get(dep, set())
            is_mine = goes_by_partition(stage, dep)
            touched |= made & partitions if is_mine else partitions if made else set()
        return touched

    def _log(self, stage: Stage, examined: Examined) -> None:
        reasons = Counter(examined.stale.values())
        why = "".join(f"; {n} {reason}" for reason, n in reasons.most_common(5))
        n_fresh, n_stale = len(examined.fresh), len(examined.stale)
        self.work.log.info("%s: %d fresh, %d to make%s", stage.name, n_fresh, n_stale, why)
