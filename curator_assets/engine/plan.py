"""What a refresh would do, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from curator_assets.engine.freshness import examine, in_short
from curator_assets.engine.partitioning import Partition
from curator_assets.engine.stage import Stage, goes_by_partition
from curator_assets.engine.work import Work
from curator_assets.garbage import collected_later

LATER = "looked at again once what it is made from is there"


@dataclass(frozen=True)
class StagePlan:
    """What a refresh would do about one stage.

    Attributes:
        n_fresh: partitions that are up to date.
        stale: partition -> why it is made.
        undecided: partition -> why it can't be told yet.
    """

    stage: Stage
    n_fresh: int
    stale: dict[Partition, str]
    undecided: dict[Partition, str]

    @property
    def reasons(self) -> Counter[str]:
        """Why, and how many partitions for that reason."""
        return Counter(self.stale.values())


@collected_later()
def plan(stages: Sequence[Stage], work: Work) -> list[StagePlan]:
    """What a refresh would do, stage by stage, in the order of the graph.

    Args:
        stages: each after those that it is made from.
        work: its purpose is `PLAN`.
    """
    plans, waiting = list[StagePlan](), dict[Stage, set[Partition]]()
    for stage in stages:
        if stage.is_optional:
            continue
        partitions = work.partitions(stage)
        waits = _waiting(stage, partitions, waiting)
        found = examine(stage, work, [p for p in partitions if p not in waits])
        undecided = dict.fromkeys(waits, LATER) | found.undecided
        undecided |= {f.partition: LATER if f.lacks_input else f.error for f in found.failed}
        waiting[stage] = set(found.stale) | set(undecided)
        plans.append(StagePlan(stage, len(found.fresh), in_short(found.stale), undecided))
    return plans


def _waiting(
    stage: Stage, partitions: Sequence[Partition], waiting: dict[Stage, set[Partition]]
) -> list[Partition]:
    """The partitions that have an input which is made first."""
    found = set[Partition]()
    for dep in stage.deps:
        if not isinstance(dep.stage, Stage) or dep.is_sampled:
            continue
        is_mine = goes_by_partition(stage, dep.stage)
        found |= waiting[dep.stage] if is_mine else set(partitions if waiting[dep.stage] else ())
    return [partition for partition in partitions if partition in found]
