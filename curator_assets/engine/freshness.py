"""Whether a partition is fresh, and if not, why.

It is when the ledger holds the fingerprint that its inputs, settings and code have now, and its
files are in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from curator_assets.engine.partitioning import (
    MissingInputError,
    Partition,
    PartitionError,
    Partitioning,
    UndecidedError,
)
from curator_assets.engine.stage import Failed, Inputs, Stage
from curator_assets.engine.work import Work
from curator_assets.errors import UserError
from curator_assets.garbage import collected_later
from curator_assets.storage.bucket.outage import StoreAwayError
from curator_assets.storage.lease import LeaseLostError
from curator_assets.storage.ledger import Entry

CODE = "settings or code"
NEVER_MADE = "never made"
_MISSING = "missing: "


def all_inputs(stage: Stage, work: Work, inputs: Inputs) -> Inputs:
    """With the version of the code and of the settings that it covers."""
    return {CODE: _code_in_force(stage, work)} | dict(inputs)


def why_stale(stage: Stage, work: Work, partition: Partition) -> str | None:
    """Why a partition has to be made, or None if it is fresh.

    Raises:
        MissingInputError: an input was never made.
        UndecidedError: it can't be known yet.
    """
    entry = work.entry(stage, partition)
    try:
        inputs = stage.inputs(work, partition)
    except UndecidedError:
        if entry is None:
            return NEVER_MADE
        raise
    if entry is None:
        return NEVER_MADE
    if inputs is None:
        return "its input has to be read"
    wanted = all_inputs(stage, work, inputs)
    if entry.inputs != wanted:
        names = sorted(set(wanted) | set(entry.inputs))
        changed = [name for name in names if wanted.get(name) != entry.inputs.get(name)]
        return f"changed: {', '.join(changed)}"
    missing = work.ledger.missing_files(entry)
    return f"{_MISSING}{', '.join(missing)}" if missing else None


def in_short(stale: Mapping[Partition, str]) -> dict[Partition, str]:
    """Why partitions have to be made, in as few reasons: of several no missing file is named."""
    missing = [partition for partition, why in stale.items() if why.startswith(_MISSING)]
    return dict(stale) | (dict.fromkeys(missing, "with missing files") if len(missing) > 1 else {})


def why_other_code(stage: Stage, work: Work, partition: Partition) -> str | None:
    """Why a partition was not made with the settings and the code in force, or None if it was."""
    entry = work.entry(stage, partition)
    if entry is None:
        return NEVER_MADE
    is_same = entry.inputs.get(CODE) == _code_in_force(stage, work)
    return None if is_same else f"changed: {CODE}"


def _code_in_force(stage: Stage, work: Work) -> str:
    return work.once((stage, CODE), lambda: stage.code_version(work.settings))


@dataclass(frozen=True)
class Examined:
    """Which of some partitions are fresh, stale, or can't be made or judged yet.

    Attributes:
        stale: partition -> why.
        undecided: partition -> what has to be made before it can be judged.
    """

    fresh: dict[Partition, Entry]
    stale: dict[Partition, str]
    undecided: dict[Partition, str]
    failed: list[Failed]


@collected_later()
def examine(
    stage: Stage, work: Work, partitions: Iterable[Partition], *, force: bool = False
) -> Examined:
    """Sort partitions into fresh and stale, with the reason why."""
    examined = Examined({}, {}, {}, [])
    if stage.by is not Partitioning.WHOLE:
        work.ledger.read_all(stage.name)  # in bulk, not one by one
        for dep in stage.deps:
            work.ledger.read_ahead(dep.stage.name)
    left = list(partitions)
    for i, partition in enumerate(left):
        try:
            reason = "forced" if force else why_stale(stage, work, partition)
        except (LeaseLostError, StoreAwayError):
            raise
        except UserError as error:  # the same for all of them; a store that refuses is an OSError
            examined.failed.extend(Failed(p, str(error), is_of_all=True) for p in left[i:])
            break
        except (MissingInputError, PartitionError, OSError) as error:
            lacks_input = isinstance(error, MissingInputError)
            examined.failed.append(Failed(partition, str(error), lacks_input=lacks_input))
            continue
        except UndecidedError as error:
            examined.undecided[partition] = str(error)
            continue
        entry = work.entry(stage, partition)
        if reason is None and entry is not None:
            examined.fresh[partition] = entry
        else:
            examined.stale[partition] = reason or NEVER_MADE
    return examined


def all_fresh(stage: Stage, work: Work) -> bool:
    """Whether every partition of a stage is fresh."""
    partitions = work.partitions(stage)
    return len(examine(stage, work, partitions).fresh) == len(partitions)
