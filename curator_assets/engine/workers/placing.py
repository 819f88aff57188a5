"""Where images are worked on: in workers of this machine, or on those of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from curator_assets.engine.partitioning import Partition
from curator_assets.engine.work import Work
from curator_assets.engine.workers.supervision import supervised
from curator_assets.engine.workers.task import Run


def on_every_device(
    run: Run, trial: Run, work: Work, partitions: Sequence[Partition]
) -> Iterator[Any]:
    """What a function gives that runs on each device there is; as `supervised`."""
    if work.cluster:
        return work.cluster.spread(partial(_there, run=run, trial=trial), work, partitions)
    devices = work.encoder.devices()[: len(partitions)]
    return supervised(run, trial, work, partitions, devices)


def on_one_device(
    run: Run, trial: Run, work: Work, partitions: Sequence[Partition]
) -> Iterator[Any]:
    """What a function gives that runs on the first device; as `supervised`."""
    if work.cluster:
        there = partial(_alone_there, run=run, trial=trial, partitions=tuple(partitions))
        return work.cluster.alone(there, work)
    return supervised(run, trial, work, partitions, work.encoder.devices()[:1])


def _there(work: Work, partitions: Iterator[Partition], *, run: Run, trial: Run) -> Iterator[Any]:
    return supervised(run, trial, work, partitions, work.encoder.devices())


def _alone_there(
    work: Work, _: Iterator[Partition], *, run: Run, trial: Run, partitions: Sequence[Partition]
) -> Iterator[Any]:
    return supervised(run, trial, work, partitions, work.encoder.devices()[:1])
