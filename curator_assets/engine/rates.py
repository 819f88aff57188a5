"""What stages took on a machine: the last observations of each, which a plan foretells time by.

They are no result and nothing rests on them: one that is lost is made up for by the next refresh.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from curator_assets.engine.machine import machine
from curator_assets.engine.partitioning import Partition, Partitioning
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.masking import masked
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry

RECORD = "rates"
"""The ledger entries of what was observed, by machine and stage."""

N_KEPT = 8
"""Observations of a stage that tell the same; older ones are of other tars or other code."""

COPIED_AT_MOST = 0.1
"""Images encoded for one that was copied, up to which an observation tells the pace of copying."""


@dataclass(frozen=True)
class Observation:
    """What it took to make some partitions of a stage, once.

    Attributes:
        encoder: `encoder_words` of the settings.
        n_bytes: of the tars of these partitions; of all tars, of a stage that is made over all.
        n_encoded: images that went through the encoder, of the stage that has one.
        n_reused: images whose embeddings were copied instead, likewise.
        share: of all that would be made from scratch, where what was made before is built on.
        seconds: by the clock, all that goes with it included.
    """

    encoder: str
    n_bytes: int
    n_encoded: int
    n_reused: int
    share: float
    seconds: float

    @property
    def is_of_encoding(self) -> bool:
        """Whether it tells the pace of the encoder, which most of its images went through."""
        return self.n_encoded > self.n_reused

    @property
    def is_of_copying(self) -> bool:
        """Whether it tells how long it takes to read tars of which hardly any image is encoded."""
        return self.n_encoded <= COPIED_AT_MOST * self.n_reused

    @property
    def tells(self) -> tuple[object, ...]:
        """The same of those that tell the same."""
        return self.encoder, self.is_of_encoding, self.is_of_copying


def note(stage: Stage, work: Work, made: Collection[Partition], seconds: float) -> None:
    """Keep what it took to make some partitions; storage that fails is passed over.

    Raises:
        LeaseLostError: another refresh has taken over the output.
    """
    try:
        observation = _observation(stage, work, made, seconds)
        before = observed(stage, work)
        alike = [one for one in before if one.tells == observation.tells]
        others = [one for one in before if one.tells != observation.tells]
        kept = [*others, *[*alike, observation][-N_KEPT:]]
        state = {"observations": [asdict(one) for one in kept]}
        work.ledger.write(RECORD, _partition(stage, work), Entry("", "", state=state))
    except OSError as error:
        work.log.warning("what %s took can't be kept: %s", stage.name, masked(str(error)))


def _observation(
    stage: Stage, work: Work, made: Collection[Partition], seconds: float
) -> Observation:
    states = [entry.state for partition in made if (entry := work.entry(stage, partition))]
    shards = made if stage.by is Partitioning.SHARD else work.shards
    return Observation(
        encoder=encoder_words(work.settings),
        n_bytes=sum(work.n_bytes.get(shard, 0) for shard in shards),
        n_encoded=sum(state.get("n_encoded", 0) for state in states),
        n_reused=sum(state.get("n_reused", 0) for state in states),
        share=sum(state.get("share", 1.0) for state in states) / max(len(states), 1),
        seconds=seconds,
    )


def observed(stage: Stage, work: Work) -> list[Observation]:
    """What was observed of a stage on this machine, of what tells the same the latest last."""
    entry = work.ledger.read(RECORD, _partition(stage, work))
    rows = entry.state.get("observations") if entry else None
    return list(_readable(rows if isinstance(rows, list) else ()))


def _readable(rows: Iterable[Any]) -> Iterable[Observation]:
    """Those of this version's fields: another version's are as good as none."""
    names = {field.name for field in fields(Observation)}
    return (Observation(**row) for row in rows if isinstance(row, dict) and row.keys() == names)


def _partition(stage: Stage, work: Work) -> str:
    words = machine(work.encoder.device_type(), work.settings.cluster.ray)
    return f"{re.sub('[^a-z0-9]+', '-', words.lower()).strip('-')}/{stage.name}"


def encoder_words(settings: Settings) -> str:
    """By what of the settings the pace of the encoder goes."""
    model = settings.model
    return f"{model.name}, {model.precision}, {model.execution}"
