"""Partitions of a stage are made, timed, tried again, contained and recorded.

What a stage makes is its partition's files, which are hashed where they were made. Only
`recorded` writes to the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from curator_assets.engine.damage import forget_maker
from curator_assets.engine.freshness import all_fresh, all_inputs
from curator_assets.engine.in_order import in_threads
from curator_assets.engine.partitioning import (
    MissingInputError,
    Partition,
    PartitionError,
    Partitioning,
)
from curator_assets.engine.progress import Progress
from curator_assets.engine.stage import (
    Advanced,
    Failed,
    Finished,
    Made,
    Make,
    Observed,
    OneByOne,
    Stage,
)
from curator_assets.engine.work import Work
from curator_assets.errors import DamagedFileError, UserError, named
from curator_assets.masking import MaskedError, masked_error, masked_values
from curator_assets.storage.bucket.outage import StoreAwayError
from curator_assets.storage.lease import LeaseLostError
from curator_assets.storage.ledger import Entry
from curator_assets.storage.local_files import FULL
from curator_assets.storage.retries import with_retries
from curator_assets.storage.versions import hash_of, stored_files, version_of


@dataclass(frozen=True)
class Recorded:
    """A partition that was made and recorded.

    Attributes:
        entry: in the ledger.
        metadata: beside it.
        told: the inputs that only making it told.
    """

    partition: Partition
    entry: Entry
    metadata: Mapping[str, Any]
    told: Mapping[str, Any]


def make(
    stage: Stage, partitions: Iterable[Partition], work: Work
) -> Iterator[Recorded | Failed | Observed]:
    """Make partitions and record them; whatever one of them does, the others are made.

    A missing input or failing storage of what all of them need fails those that are left.

    Raises:
        LeaseLostError: another refresh has taken over the output.
        StoreAwayError: storage does not answer; nothing could be recorded.
    """
    left = dict.fromkeys(partitions)
    if not left:
        return
    seen = list[Any]()
    with closing(work.held):
        yield from _outcomes(stage, left, work, seen)
        work.forget()
        yield from _observed(stage, work, seen)


def _outcomes(
    stage: Stage, left: dict[Partition, None], work: Work, seen: list[Any]
) -> Iterator[Recorded | Failed]:
    """What becomes of each of the partitions, which are left no more.

    Args:
        stage: that is made.
        left: its partitions.
        work: settings and storage.
        seen: gets what was observed of each.
    """
    is_by_shard = stage.by is Partitioning.SHARD
    weights = {p: (work.n_bytes.get(p) or 1 if is_by_shard else 1) for p in left}
    where = work.cluster.where if work.cluster and stage.is_spread else str
    with Progress(stage.name, stage.unit, weights, work.log, work.watch, where) as progress:
        try:
            for outcome in finished(stage, list(left), work):
                if isinstance(outcome, Advanced):
                    progress.advance(outcome.partition, outcome.n_rows, outcome.n_bytes)
                    continue
                result: Recorded | Failed
                result = outcome if isinstance(outcome, Failed) else recorded(stage, outcome, work)
                if isinstance(outcome, Failed):
                    work.store.look_again(_may_lie_there(stage, outcome.partition))
                if isinstance(outcome, Finished) and outcome.made.observed is not None:
                    seen.append(outcome.made.observed)
                if isinstance(result, Failed) and result.damaged:
                    forget_maker(stage, work, result.damaged)
                del left[result.partition]
                n_rows = outcome.n_rows if isinstance(outcome, Finished) else 0
                progress.finish(result.partition, n_rows)
                yield result
        except (LeaseLostError, StoreAwayError):
            raise
        except Exception as error:  # of what all of them need: a damaged file of weights, say
            message = _told(error, work, f"{stage.name} can't be begun")
            lacks_input = isinstance(error, MissingInputError)
            if isinstance(error, DamagedFileError):
                forget_maker(stage, work, error.name)
            for partition in left:
                yield Failed(partition, message, is_of_all=True, lacks_input=lacks_input)


def _may_lie_there(stage: Stage, partition: Partition) -> list[str]:
    """The files that may have been put in place before a partition failed."""
    read = (name for external in stage.externals() for name in external.files(partition))
    return [*stage.files(partition), *read]


def failure_lines(failed: Iterable[Failed]) -> Iterator[str]:
    """A line an error: the partitions that it cost, and what it is."""
    partitions = defaultdict[str, list[Partition]](list)
    for one in failed:
        partitions[one.error] += [one.partition] if one.partition and not one.is_of_all else []
    for error, costs in partitions.items():
        yield f"{named(costs)}: {error}" if costs else error


def _told(error: Exception, work: Work, what: str) -> str:
    """An error as a person reads it; one that nobody foresaw has its traceback in the log."""
    match masked_error(error):
        case MissingInputError() | PartitionError() | UserError() as told:
            return str(told)
        case OSError() as told if told.errno in FULL:
            return f"nothing more can be written ({told.strerror}: {told.filename}); make room"
        case OSError() as told:
            return f"storage failed: {told}"
        case MaskedError() as told:
            work.log.error("%s", what, exc_info=told)
            return f"storage failed: {told}" if isinstance(error, OSError) else str(told)
        case told:
            work.log.error("%s", what, exc_info=told)
            return f"{type(told).__name__}: {told}"


def _observed(stage: Stage, work: Work, seen: Sequence[Any]) -> Iterator[Observed]:
    """What is observed once all partitions are made; a check that can't be made fails as such."""
    if stage.observe is None or not all_fresh(stage, work):
        return
    try:
        yield from stage.observe(work, seen)
    except (LeaseLostError, StoreAwayError):
        raise
    except Exception as error:  # it holds nothing up
        if isinstance(error, DamagedFileError):
            forget_maker(stage, work, error.name)
        found = {"error": _told(error, work, f"{stage.name}: what is made can't be checked")}
        yield from (Observed(c.name, False, found) for c in stage.checks if not c.blocking)


def finished(
    stage: Stage, partitions: Iterable[Partition], work: Work
) -> Iterator[Advanced | Finished | Failed]:
    """What is made, here, in workers or on other machines; nothing is recorded."""
    making = stage.making
    if isinstance(making, OneByOne):
        if stage.is_spread and work.cluster:
            yield from work.cluster.made(stage, work, list(partitions))
            return
        with making.open(work) as make_one:
            contained = partial(_contained, stage, make_one, work)
            yield from in_threads(contained, partitions, n_threads=making.n_threads)
        return
    with making.open(work) as stream:
        for outcome in stream(partitions):
            if isinstance(outcome, Made):
                yield with_files(outcome, _names(stage, outcome), work)
            else:
                yield outcome


def _contained(stage: Stage, make_one: Make, work: Work, partition: Partition) -> Finished | Failed:
    def attempt() -> Finished:
        made = make_one(partition)
        n_rows = int(made.metadata.get("dagster/row_count", 1))
        return Finished(made, stored_files(work.store, _names(stage, made)), n_rows)

    return _unless_it_fails(partition, attempt, work)


def _unless_it_fails(
    partition: Partition, action: Callable[[], Finished], work: Work
) -> Finished | Failed:
    what = f"partition {partition!r}" if partition else "the asset"
    try:
        return with_retries(action, what, work.log)
    except Exception as error:  # whatever one partition does, the others are made
        if isinstance(error, UserError) and not isinstance(error, DamagedFileError):
            raise  # of what all of them need
        return Failed(
            partition,
            _told(error, work, f"{what} failed"),
            check=error.check if isinstance(error, PartitionError) else None,
            is_of_all=isinstance(error, OSError) and error.errno in FULL,
            lacks_input=isinstance(error, MissingInputError),
            damaged=error.name if isinstance(error, DamagedFileError) else None,
        )


def with_files(made: Made, names: Sequence[str], work: Work) -> Finished | Failed:
    """A partition that was made, with the files of these names as they were written."""

    def attempt() -> Finished:
        return Finished(made, stored_files(work.store, names))

    return _unless_it_fails(made.partition, attempt, work)


def _names(stage: Stage, made: Made) -> tuple[str, ...]:
    return (stage.files(made.partition) if made.files is None else made.files) + made.shown


def recorded(stage: Stage, done: Finished, work: Work) -> Recorded | Failed:
    """Write the ledger entry of a partition that was made."""
    made = done.made
    work.store.placed(done.files)
    for read in made.read.values():
        work.store.placed(read.files)
    try:
        inputs = made.inputs or stage.inputs(work, made.partition)
        assert inputs is not None, f"{stage.name} was made from inputs it does not tell"
        known = all_inputs(stage, work, inputs)
        told = {name: file for name, file in done.files.items() if name not in made.shown}
        entry = Entry(
            fingerprint=hash_of(known),
            data_version=version_of(told),
            inputs=known,
            files=done.files,
            checks=masked_values(made.checks),
            warnings=masked_values(made.warnings),
            state=made.state,
        )
        metadata = masked_values(made.metadata)
        for asset, read in made.read.items():
            work.ledger.write(asset, made.partition, read)
        work.ledger.write(stage.name, made.partition or None, entry, metadata)
    except UserError:  # of what all of them need
        raise
    except (MissingInputError, PartitionError, OSError) as error:
        return Failed(made.partition, f"it was made, but could not be recorded: {error}")
    return Recorded(made.partition, entry, metadata, made.inputs or {})
