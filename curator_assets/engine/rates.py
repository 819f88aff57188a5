"""What stages took on a machine: the last observations of each, which a plan foretells time by.

They are no result and nothing rests on them: one that is lost is made up for by the next refresh.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from curator_assets.engine.making import Recorded
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry

RECORD = "rates"
"""The ledger entries of what was observed, by machine and stage."""

N_KEPT = 8
"""Observations of a stage; older ones are of other tars or other code."""


@dataclass(frozen=True)
class Observation:
    """What it took to make some partitions of a stage, once.

    Attributes:
        encoder: `encoder_words` of the settings.
        n_partitions: that were made.
        n_bytes: of the tars of these partitions; of all tars, of a stage that is made over all.
        n_encoded: images that went through the encoder, of the stage that has one.
        n_reused: images whose embeddings were copied instead, likewise.
        seconds: by the clock, all that goes with it included.
        read_seconds: of them, as far as the stage counts it, those spent reading and hashing tars.
    """

    encoder: str
    n_partitions: int
    n_bytes: int
    n_encoded: int
    n_reused: int
    seconds: float
    read_seconds: float


class Taken:
    """What it takes to make partitions of a stage, counted from now on."""

    def __init__(self, stage: Stage, work: Work) -> None:
        self._stage, self._work = stage, work
        self._counts = Counter[str]()
        self._read_seconds = 0.0
        self._started = time.monotonic()

    def add(self, one: Recorded) -> None:
        """Count a partition."""
        is_of_tar = self._stage.by is Partitioning.SHARD
        self._counts["n_partitions"] += 1
        self._counts["n_bytes"] += self._work.n_bytes.get(one.partition, 0) if is_of_tar else 0
        for name in ("n_encoded", "n_reused"):
            self._counts[name] += one.entry.state.get(name, 0)
        self._read_seconds += one.metadata.get("read_seconds", 0.0)

    def note(self) -> None:
        """Keep it, if anything was made; storage that fails is passed over.

        Raises:
            LeaseLostError: another refresh has taken over the output.
        """
        seconds, stage, work = time.monotonic() - self._started, self._stage, self._work
        if not self._counts["n_partitions"]:
            return
        if stage.by is not Partitioning.SHARD:
            self._counts["n_bytes"] = sum(work.n_bytes.get(shard, 0) for shard in work.shards)
        observation = Observation(
            encoder=encoder_words(work.settings),
            n_partitions=self._counts["n_partitions"],
            n_bytes=self._counts["n_bytes"],
            n_encoded=self._counts["n_encoded"],
            n_reused=self._counts["n_reused"],
            seconds=seconds,
            read_seconds=self._read_seconds,
        )
        kept = [*observed(stage, work), observation][-N_KEPT:]
        state = {"observations": [asdict(one) for one in kept]}
        try:
            work.ledger.write(RECORD, _partition(stage, work), Entry("", "", state=state))
        except OSError as error:
            work.log.warning("what %s took can't be kept: %s", stage.name, error)


def observed(stage: Stage, work: Work) -> list[Observation]:
    """What was observed of a stage on this machine, the latest last."""
    entry = work.ledger.read(RECORD, _partition(stage, work))
    rows = entry.state.get("observations") if entry else None
    return list(_readable(rows if isinstance(rows, list) else ()))


def _readable(rows: Iterable[Any]) -> Iterable[Observation]:
    """Those of this version's fields: another version's are as good as none."""
    names = {field.name for field in fields(Observation)}
    return (Observation(**row) for row in rows if isinstance(row, dict) and row.keys() == names)


def _partition(stage: Stage, work: Work) -> str:
    words = machine(work.encoder.device_type())
    return f"{re.sub('[^a-z0-9]+', '-', words.lower()).strip('-')}/{stage.name}"


def encoder_words(settings: Settings) -> str:
    """By what of the settings the pace of the encoder goes."""
    model = settings.model
    return f"{model.name}, {model.precision}, {model.execution}"


def machine(device: str) -> str:
    """This machine as rates are kept by it: `cpu, AMD EPYC 9654, 8 cores`.

    Args:
        device: the kind of device to embed on, `cpu` or `cuda`; of a GPU the driver tells the name.
    """
    gpus = [_field(path, "Model") for path in sorted(_NVIDIA.glob("*/information"))]
    devices = sorted({name for name in gpus if name}) if device == "cuda" else []
    n_gpus = [f"{len(gpus)} GPUs"] if devices and len(gpus) > 1 else []
    processor = _field(_CPUINFO, "model name") or platform.machine()
    n_cores = len(os.sched_getaffinity(0))
    cores = f"{n_cores} core{'s' * (n_cores > 1)}"
    return ", ".join([device, *devices, *n_gpus, processor, cores])


_NVIDIA = Path("/proc/driver/nvidia/gpus")
_CPUINFO = Path("/proc/cpuinfo")


def _field(path: Path, name: str) -> str | None:
    """The first value of a name in a file of `name : value` lines; None if there is none."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), None)
