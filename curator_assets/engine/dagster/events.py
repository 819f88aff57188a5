"""What a stage did as Dagster events, for the UI to show the truth."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from curator_assets.control_characters import escaped_lines
from curator_assets.engine.dagster.partition_keys import partition_key, shard_of
from curator_assets.engine.dagster.private_names import (
    BACKFILL_ID_TAG,
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from curator_assets.engine.making import Recorded, failure_lines
from curator_assets.engine.partitioning import ALL, Partition
from curator_assets.engine.stage import Failed, Observed, Stage
from curator_assets.engine.work import Work
from curator_assets.errors import UserError
from curator_assets.masking import masked, masked_error, masked_errors
from curator_assets.report.pictures.data_uri import data_uri
from curator_assets.storage.ledger import Entry, Picture

_HELD_SECONDS = 1.0
"""How often, at most, it is read what Dagster knows of an asset's inputs."""

_FAILED_SHOWN = 50
"""Failed partitions that a check names."""

_FAILURES_SHOWN = 20


@dataclass
class _Found:
    """What one check found in this run."""

    passed: dict[Partition, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[Partition, Mapping[str, Any]] = field(default_factory=dict)
    holds_up: bool = False


class EventReporter:
    """Turns what was done about a stage into Dagster events.

    An event takes Dagster 20 ms on SQLite. So a partition costs one, a check one in each run, and
    partitions that are made within a second share what is read for them.

    Args:
        context: of the op that does the work.
        stage: whose work it is.
        work: whose ledger has the metadata.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        stage: Stage,
        work: Work,
    ) -> None:
        self._context, self._stage, self._work = context, stage, work
        self._key = dg.AssetKey(stage.name)
        self._deps = sorted(dg.AssetKey(dep.stage.name) for dep in stage.deps)
        self._provenance = self._read_provenance()
        self._provenance_read = time.monotonic()
        self._held = list[Recorded]()
        self._found = defaultdict[str, _Found](_Found)

    def reported(self) -> set[Partition]:
        """The partitions that Dagster knows to be made; `ALL` of an asset without any."""
        instance = self._context.instance
        if instance.get_latest_materialization_event(self._key) is None:
            return set()
        return {ALL, *map(shard_of, instance.get_materialized_partitions(self._key))}

    def outcome(self, outcome: Recorded | Failed | Observed) -> Iterator[Any]:
        """The events of one outcome."""
        match outcome:
            case Failed(partition, error, check):
                if check:
                    self._found[check].failed[partition] = {"error": error}
                    self._found[check].holds_up = True
            case Observed(check, passed, found):
                results = self._found[check]
                (results.passed if passed else results.failed)[ALL] = found
            case Recorded(partition, entry, metadata, told):
                read = [e.name for e in self._stage.externals() if e.name in told]
                for name in read:
                    yield _observation(name, partition, told[name])
                if not read:
                    yield from self._made(partition, entry, metadata, made_now=True)
                    return
                self._held.append(outcome)
                if time.monotonic() - self._provenance_read > _HELD_SECONDS:
                    yield from self._release()

    def fresh(self, partition: Partition, entry: Entry) -> Iterator[Any]:
        """The materialisation of a partition that did not have to be made."""
        try:
            metadata = self._work.ledger.read_metadata(self._stage.name, partition or None)
        except ValueError as error:  # what was reported is no result: it holds nothing up
            metadata = {"metadata_error": str(error)}
        yield from self._made(partition, entry, metadata, made_now=False)

    def close(self) -> Iterator[Any]:
        """What was held back, and what each check found in all partitions of this run."""
        yield from self._release()
        for check, found in self._found.items():
            yield dg.AssetCheckEvaluation(
                asset_key=self._key,
                check_name=check,
                passed=not found.failed,
                metadata={name: _metadata_value(value) for name, value in _told(found).items()},
                blocking=found.holds_up,
                severity=dg.AssetCheckSeverity.ERROR
                if found.holds_up or not found.failed
                else dg.AssetCheckSeverity.WARN,
            )

    def _made(
        self, partition: Partition, entry: Entry, reported: Mapping[str, Any], *, made_now: bool
    ) -> Iterator[Any]:
        tags = self._provenance | {
            DATA_VERSION_TAG: entry.data_version,
            DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        }
        if BACKFILL_ID_TAG in self._context.run.tags:
            tags[BACKFILL_ID_TAG] = self._context.run.tags[BACKFILL_ID_TAG]
        metadata = {name: _metadata_value(value) for name, value in reported.items()}
        metadata["work_done"] = dg.MetadataValue.bool(made_now)
        yield dg.AssetMaterialization(
            self._key,
            partition=partition_key(partition) or None,
            metadata=metadata,
            tags=tags,
        )
        for check, found in entry.checks.items():
            self._found[check].passed[partition] = found
        for check, found in entry.warnings.items():
            self._found[check].failed[partition] = found

    def _release(self) -> Iterator[Any]:
        if self._held:  # made from tars that Dagster has just been told of
            self._provenance = self._read_provenance()
            self._provenance_read = time.monotonic()
        for held in self._held:
            yield from self._made(held.partition, held.entry, held.metadata, made_now=True)
        self._held.clear()

    def _read_provenance(self) -> dict[str, str]:
        """The tags by which Dagster's own staleness marks see what a partition was made from."""
        tags = {CODE_VERSION_TAG: self._stage.code_version(self._work.settings)}
        for dep in self._deps:
            record = self._context.instance.get_latest_data_version_record(dep)
            version = extract_data_version_from_entry(record.event_log_entry) if record else None
            tags[get_input_data_version_tag(dep)] = (version or DEFAULT_DATA_VERSION).value
            tags[get_input_event_pointer_tag(dep)] = str(record.storage_id) if record else "NULL"
        return tags


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
    """What a user can mend comes as a failure: the UI shows its text before anything else.

    Whatever else comes is masked, and so is what is logged meanwhile: Dagster stores it.
    """
    log.addFilter(_SHOWN)
    with masked_errors():
        try:
            yield
        except UserError as error:
            raise dg.Failure(str(error), allow_retries=False) from error


def failure(what: str, failed: list[Failed]) -> dg.Failure:
    """The error of a run in which partitions failed: which, and why."""
    lines = list(failure_lines(failed))
    if len(failed) == 1 and not failed[0].partition:  # nothing else was to be made
        return dg.Failure(lines[0], allow_retries=False)
    n_more = len(lines) - _FAILURES_SHOWN
    shown = lines[:_FAILURES_SHOWN] + [f"… and {n_more} more"] * (n_more > 0)
    return dg.Failure(
        f"{what}: {len(failed)} partition(s) could not be made; the others were.\n"
        + "\n".join(shown),
        allow_retries=False,
    )


def _told(found: _Found) -> Mapping[str, Any]:
    """The metadata of a check; the count of partitions and the failed ones where there are any."""
    if set(found.passed) | set(found.failed) == {ALL}:
        return (found.failed or found.passed)[ALL]
    failed = [{"partition": partition, **what} for partition, what in list(found.failed.items())]
    counts = {"n_passed": len(found.passed), "n_failed": len(failed)}
    return counts | ({"failed": failed[:_FAILED_SHOWN]} if failed else {})


def _observation(name: str, partition: Partition, version: str) -> dg.AssetObservation:
    tags = {DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    return dg.AssetObservation(name, partition=partition_key(partition), tags=tags)


def _metadata_value(value: Any) -> dg.MetadataValue[Any]:
    match value:
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case float():
            return dg.MetadataValue.float(value)
        case Picture(data, kind):
            return dg.MetadataValue.md(f"![]({data_uri(data, kind)})")
        case str():
            return dg.MetadataValue.text(escaped_lines(masked(value)))
        case [dict(), *_]:
            return dg.MetadataValue.table([dg.TableRecord(row) for row in value])
        case _:
            return dg.MetadataValue.json(value)
