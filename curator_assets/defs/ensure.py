"""Every op is an *ensure*: what is fresh is reported, what is not is made, and nothing else.

So any trigger is safe: running everything twice does the work once.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.source_asset import (
    # Tells Dagster that the op has logged its own events. Without it every partition of a range
    # gets a second event with one data version for all (dagster issues 18649, 34013).
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION as EVENTS_ARE_LOGGED,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG

from curator_assets.defs.stage import (
    Failed,
    Observed,
    Recorded,
    Stage,
    Work,
    examine,
    outcomes,
)
from curator_assets.defs.tar_shards import ASSET as TAR_SHARDS
from curator_assets.partitions import SHARDS_NAME
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.ledger import Entry


class EnsureConfig(dg.Config):
    """Operations only: nothing here changes a result."""

    force: bool = False
    """Make every selected partition again, fresh or not."""


def work_of(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    settings: Settings,
    storage: Storage,
    encoder: Encoder,
) -> Work:
    """What stages need, from an op's context and resources."""
    ranks = read_arrivals(storage.store)
    registered = context.instance.get_dynamic_partitions(SHARDS_NAME)
    shards = sorted((shard for shard in registered if shard in ranks), key=ranks.__getitem__)
    return Work(settings, storage, encoder, tuple(shards), context.log)


def ensure(
    context: dg.AssetExecutionContext, stage: Stage, work: Work, config: EnsureConfig
) -> Iterator[Any]:
    """Make the selected partitions that are not fresh, and report all of them.

    Yields:
        Dagster events: one materialisation a partition, one evaluation a check, and the op's
        outputs.

    Raises:
        dagster.Failure: partitions failed; the others are made and recorded.
    """
    examined = examine(stage, work.ledger, _selected(context), force=config.force)
    reporter = Reporter(context, stage, context.assets_def)
    for partition, entry in examined.fresh.items():
        yield from reporter.made(partition, entry, made_now=False)
    context.log.info("%s: %d to make", stage.asset, len(examined.stale))
    failed = list(examined.failed)
    for outcome in outcomes(stage, examined.stale, work):
        yield from reporter.outcome(outcome)
        failed += [outcome] if isinstance(outcome, Failed) else []
    yield from reporter.close()
    if failed:
        raise failure(stage.asset, failed)
    for spec in context.assets_def.check_specs:
        yield dg.Output(None, output_name=spec.get_python_identifier())
    yield dg.MaterializeResult(metadata={EVENTS_ARE_LOGGED: True})


_HELD_SECONDS = 1.0
"""How often, at most, it is read what Dagster knows of an asset's inputs."""

_FAILED_SHOWN = 50
"""Failed partitions that a check names."""


@dataclass
class _Found:
    """What one check found in this run."""

    passed: dict[str | None, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[str | None, Mapping[str, Any]] = field(default_factory=dict)
    holds_up: bool = False


class Reporter:
    """Turns what a stage did into Dagster events, for the UI to show the truth.

    An event takes Dagster 20 ms on SQLite. So a partition costs one, a check one in each run, and
    partitions that are made within a second share what is read for them.

    Args:
        context: of the op that does the work.
        stage: whose work it is.
        asset: the asset's definition.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        stage: Stage,
        asset: dg.AssetsDefinition,
    ) -> None:
        self._context = context
        self._stage = stage
        self._key = dg.AssetKey(stage.asset)
        self._deps = sorted(asset.asset_deps[self._key])
        self.deps = [dep.to_user_string() for dep in self._deps]
        self._provenance = self._read_provenance()
        self._provenance_read = time.monotonic()
        self._held = list[tuple[str | None, Entry]]()
        self._found = defaultdict[str, _Found](_Found)

    def outcome(self, outcome: Recorded | Failed | Observed) -> Iterator[Any]:
        """The events of one outcome."""
        match outcome:
            case Failed(partition, error, check):
                if check:
                    self._found[check].failed[partition] = {"error": error}
                    self._found[check].holds_up = True
            case Observed(check, passed, found):
                results = self._found[check]
                (results.passed if passed else results.failed)[None] = found
            case Recorded(made, entry):
                if made.tar_version is None:
                    yield from self.made(made.partition, entry, made_now=True)
                else:
                    yield _tar_observation(made.partition, made.tar_version)
                    self._held.append((made.partition, entry))
                    if time.monotonic() - self._provenance_read > _HELD_SECONDS:
                        yield from self._release()

    def made(self, partition: str | None, entry: Entry, *, made_now: bool) -> Iterator[Any]:
        """The materialisation of a partition."""
        tags = self._provenance | {
            DATA_VERSION_TAG: entry.data_version,
            DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        }
        if BACKFILL_ID_TAG in self._context.run.tags:
            tags[BACKFILL_ID_TAG] = self._context.run.tags[BACKFILL_ID_TAG]
        metadata = {name: _metadata_value(value) for name, value in entry.metadata.items()}
        metadata["work_done"] = dg.MetadataValue.bool(made_now)
        yield dg.AssetMaterialization(self._key, partition=partition, metadata=metadata, tags=tags)
        for check, found in entry.checks.items():
            self._found[check].passed[partition] = found
        for check, found in entry.warnings.items():
            self._found[check].failed[partition] = found

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

    def _release(self) -> Iterator[Any]:
        if self._held:  # made from tars that Dagster has just been told of
            self._provenance = self._read_provenance()
            self._provenance_read = time.monotonic()
        for partition, entry in self._held:
            yield from self.made(partition, entry, made_now=True)
        self._held.clear()

    def reported(self) -> set[str | None]:
        """The partitions that Dagster knows to be made; None stands for an asset without any."""
        instance = self._context.instance
        if instance.get_latest_materialization_event(self._key) is None:
            return set()
        return {None, *instance.get_materialized_partitions(self._key)}

    def _read_provenance(self) -> dict[str, str]:
        """The tags by which Dagster's own staleness marks see what a partition was made from."""
        tags = {CODE_VERSION_TAG: self._stage.code_version}
        for dep in self._deps:
            record = self._context.instance.get_latest_data_version_record(dep)
            version = extract_data_version_from_entry(record.event_log_entry) if record else None
            tags[get_input_data_version_tag(dep)] = (version or DEFAULT_DATA_VERSION).value
            tags[get_input_event_pointer_tag(dep)] = str(record.storage_id) if record else "NULL"
        return tags


def _told(found: _Found) -> Mapping[str, Any]:
    """The metadata of a check; the count of partitions and the failed ones where there are any."""
    if set(found.passed) | set(found.failed) == {None}:
        return (found.failed or found.passed)[None]
    failed = [{"partition": partition, **what} for partition, what in list(found.failed.items())]
    counts = {"n_passed": len(found.passed), "n_failed": len(failed)}
    return counts | ({"failed": failed[:_FAILED_SHOWN]} if failed else {})


def failure(asset: str, failed: list[Failed]) -> dg.Failure:
    """The error of a run in which partitions failed: which, and why."""
    lines = [f"{f.partition}: {f.error}" if f.partition else f.error for f in failed]
    shown = lines[:20] + [f"… and {len(lines) - 20} more"] * (len(lines) > 20)
    return dg.Failure(
        f"{asset}: {len(failed)} partition(s) could not be made; the others were.\n"
        + "\n".join(shown),
        allow_retries=False,
    )


def _selected(context: dg.AssetExecutionContext) -> list[str | None]:
    if context.assets_def.partitions_def is None:
        return [None]
    keys = list(context.partition_keys)
    if not keys:
        raise dg.Failure(
            "the partition range holds no partition; its first key must have been registered "
            "before its last",
            allow_retries=False,
        )
    return list(keys)


def _tar_observation(shard: str | None, version: str) -> dg.AssetObservation:
    tags = {DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    return dg.AssetObservation(TAR_SHARDS, partition=shard, tags=tags)


def _metadata_value(value: Any) -> dg.MetadataValue[Any]:
    match value:
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case float():
            return dg.MetadataValue.float(value)
        case str() if value.startswith("data:image/"):
            return dg.MetadataValue.md(f"![]({value})")
        case str():
            return dg.MetadataValue.text(value)
        case [dict(), *_]:
            return dg.MetadataValue.table([dg.TableRecord(row) for row in value])
        case _:
            return dg.MetadataValue.json(value)
