"""What a stage did as Dagster events, for the UI to show the truth."""

import logging
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from curator_assets.control_characters import escaped_lines
from curator_assets.engine.dagster.check_results import CheckResults
from curator_assets.engine.dagster.metadata_values import metadata_values
from curator_assets.engine.dagster.partition_keys import partition_key, shard_of
from curator_assets.engine.dagster.summaries import told
from curator_assets.engine.dagster.version_tags import Provenance, last_versions, version_tags
from curator_assets.engine.making import Recorded, failure_lines
from curator_assets.engine.partitioning import ALL, Partition
from curator_assets.engine.stage import Failed, Observed, Stage, is_by_shard
from curator_assets.engine.work import Work
from curator_assets.errors import UserError, os_error_paragraph
from curator_assets.masking import masked, masked_error, masked_errors
from curator_assets.storage.ledger import Entry

Context = dg.AssetExecutionContext | dg.OpExecutionContext

_HELD_SECONDS = 1.0
"""How often, at most, it is read what Dagster knows of an asset's inputs."""

_FAILURES_SHOWN = 20


class EventReporter:
    """Turns what was done about a stage into Dagster events.

    An event takes Dagster 20 ms on SQLite. So a partition costs one, a check one in each run, and
    partitions that are made within a second share what is read for them.

    Args:
        context: of the op that does the work.
        stage: whose work it is.
        work: whose ledger has the metadata.
        anew: what was reported before is reported again.
    """

    changed: frozenset[Partition] = frozenset()
    """Of no partition is another version reported unless it was made."""

    def __init__(self, context: Context, stage: Stage, work: Work, *, anew: bool = False) -> None:
        self._context, self._stage, self._work = context, stage, work
        self._key, self._anew = dg.AssetKey(stage.name), anew
        self._provenance = Provenance(context.instance, stage, work.settings, context.run.tags)
        self._held = list[Recorded]()
        self._checks = CheckResults(self._key)

    def fresh(self, fresh: Mapping[Partition, Entry], due: Container[Partition]) -> Iterator[Any]:
        """The events of partitions that did not have to be made.

        Args:
            fresh: those that were found.
            due: those to report in any case; others only if Dagster does not know of them.
        """
        if self._anew and is_by_shard(self._stage):
            yield from self._told_anew(fresh)
        reported: set[Partition] | None = None
        for partition, entry in fresh.items():
            if partition not in due:
                reported = self._reported() if reported is None else reported
                if partition in reported:
                    continue
            try:
                metadata = self._work.ledger.read_metadata(self._stage.name, partition or None)
            except ValueError as error:  # what was reported is no result: it holds nothing up
                metadata = {"metadata_error": str(error)}
            yield self._made(partition, entry, metadata, made_now=False)

    def outcome(self, outcome: Recorded | Failed | Observed) -> Iterator[Any]:
        """The events of one outcome."""
        match outcome:
            case Failed():
                self._checks.failed(outcome)
            case Observed():
                self._checks.observed(outcome)
            case Recorded(partition, entry, metadata, inputs):
                read = [e.name for e in self._stage.externals() if e.name in inputs]
                for name in read:
                    key, tags = partition_key(partition), version_tags(inputs[name])
                    yield dg.AssetObservation(name, partition=key, tags=tags)
                if not read:
                    yield self._made(partition, entry, metadata, made_now=True)
                    return
                self._held.append(outcome)
                if self._provenance.age_seconds > _HELD_SECONDS:
                    yield from self._release()

    def close(self) -> Iterator[Any]:
        """What was held back, and what each check found in all partitions of this run."""
        yield from self._release()
        yield from self._checks.evaluations()

    def _reported(self) -> set[Partition]:
        """The partitions that Dagster knows to be made; `ALL` of an asset without any."""
        instance = self._context.instance
        if self._anew or instance.get_latest_materialization_event(self._key) is None:
            return set()
        return {ALL, *map(shard_of, instance.get_materialized_partitions(self._key))}

    def _told_anew(self, shards: Iterable[Partition]) -> Iterator[dg.AssetObservation]:
        """The versions of tars of which Dagster knows others, from before they were grouped."""
        observation = dg.DagsterEventType.ASSET_OBSERVATION
        for external in self._stage.externals():
            known = last_versions(self._context.instance, external.name, observation)
            for shard in shards:
                entry, key = self._work.ledger.read(external.name, shard), partition_key(shard)
                if entry and known.get(key) != entry.data_version:
                    tags = version_tags(entry.data_version)
                    yield dg.AssetObservation(external.name, partition=key, tags=tags)
        self._provenance.read()

    def _made(
        self, partition: Partition, entry: Entry, reported: Mapping[str, Any], *, made_now: bool
    ) -> dg.AssetMaterialization:
        self._checks.recorded(partition, entry)
        metadata = told(self._stage, self._work, reported) | {"work_done": made_now}
        return dg.AssetMaterialization(
            self._key,
            partition=partition_key(partition) or None,
            metadata=metadata_values(metadata),
            tags=self._provenance.tags(entry.data_version),
        )

    def _release(self) -> Iterator[dg.AssetMaterialization]:
        if self._held:  # made from tars that Dagster has just been told of
            self._provenance.read()
        for held in self._held:
            yield self._made(held.partition, held.entry, held.metadata, made_now=True)
        self._held.clear()


class _Shown(logging.Filter):
    """Log lines as they may be shown: Dagster stores them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask a line and what was raised; all are let through."""
        record.msg, record.args = escaped_lines(masked(record.getMessage())), ()
        if record.exc_info and record.exc_info[1]:
            error = masked_error(record.exc_info[1])
            record.exc_info = type(error), error, error.__traceback__
        return True


_SHOWN = _Shown()


@contextmanager
def paragraph_first(log: logging.Logger) -> Iterator[None]:
    """What a user can mend, or storage, comes as a failure: its text is what the UI shows first.

    Whatever else comes is masked, and so is what is logged meanwhile: Dagster stores it.
    """
    log.addFilter(_SHOWN)
    with masked_errors():
        try:
            yield
        except UserError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except OSError as error:
            raise dg.Failure(os_error_paragraph(error), allow_retries=False) from error


def failure(what: str, failed: list[Failed], unit: str = "partition(s)") -> dg.Failure:
    """The error of a run in which partitions failed: which, and why."""
    lines = list(failure_lines(failed))
    if len(failed) == 1 and not failed[0].partition:  # nothing else was to be made
        return dg.Failure(lines[0], allow_retries=False)
    n_more = len(lines) - _FAILURES_SHOWN
    shown = lines[:_FAILURES_SHOWN] + [f"… and {n_more} more"] * (n_more > 0)
    return dg.Failure(
        f"{what}: {len(failed)} {unit} could not be made; the others were.\n" + "\n".join(shown),
        allow_retries=False,
    )
