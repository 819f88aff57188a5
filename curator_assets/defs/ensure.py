"""Every op is an *ensure*: what is fresh is reported, what is not is made, and nothing else.

A partition is fresh when the ledger holds the fingerprint that its inputs, settings and code have
now, and its files are in place. So any trigger is safe: running everything twice does the work
once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
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

from curator_assets.defs.tar_shards import ASSET as TAR_SHARDS
from curator_assets.storage.ledger import Entry, Ledger


class EnsureConfig(dg.Config):
    """Operations only: nothing here changes a result."""

    force: bool = False
    """Make every selected partition again, fresh or not."""


class MissingInputError(RuntimeError):
    """A partition can't be made because something upstream of it was not made yet."""


@dataclass(frozen=True)
class Made:
    """A partition that was made, its files in place.

    `tar_version` is the content fingerprint of the source tar, if it was read for that.
    """

    partition: str | None
    entry: Entry
    tar_version: str | None = None


@dataclass(frozen=True)
class Failed:
    """A partition that could not be made; what stood there before still stands.

    `check` names the check that it failed, if it was one.
    """

    partition: str | None
    error: str
    check: str | None = None


@dataclass(frozen=True)
class Observed:
    """The outcome of a check on the asset as a whole, which holds nothing up."""

    check: str
    passed: bool
    found: Mapping[str, Any]


Outcome = Made | Failed | Observed


def ensure(
    context: dg.AssetExecutionContext,
    ledger: Ledger,
    config: EnsureConfig,
    *,
    fingerprint: Callable[[str | None], str | None],
    make: Callable[[list[str | None]], Iterable[Outcome]],
) -> Iterator[Any]:
    """Make the selected partitions that are not fresh, and report all of them.

    Args:
        context: of the op; its partitions are the ones to ensure.
        ledger: where entries are kept.
        config: run config.
        fingerprint: of a partition as it should be now; None if that is only known once it is
            made. Raises `MissingInputError` if an input is missing.
        make: makes partitions, yielding each as it is finished.

    Yields:
        Dagster events: one materialisation a partition, its checks, and the op's outputs.

    Raises:
        dagster.Failure: partitions failed; the others are made and recorded.
    """
    asset = context.asset_key.to_user_string()
    stale, failed = list[str | None](), list[Failed]()
    provenance = _provenance(context)
    for partition in _selected(context):
        try:
            wanted = fingerprint(partition)
        except MissingInputError as error:
            failed.append(Failed(partition, str(error)))
            continue
        entry = ledger.read(asset, partition)
        if not config.force and entry and wanted and ledger.is_fresh(entry, wanted):
            yield from _report(context, Made(partition, entry), provenance, made_now=False)
        else:
            stale.append(partition)
    context.log.info("%s: %d to make", asset, len(stale))
    for outcome in _outcomes(make, stale):
        match outcome:
            case Failed():
                failed.append(outcome)
                yield from _report_failed(context, outcome)
            case Observed(check, passed, found):
                yield _evaluation(context, None, check, found, passed=passed, blocking=False)
            case Made():
                ledger.write(asset, outcome.partition, outcome.entry)
                if outcome.tar_version:
                    yield _tar_observation(outcome.partition, outcome.tar_version)
                    provenance = _provenance(context)
                yield from _report(context, outcome, provenance, made_now=True)
    if failed:
        raise _failure(asset, failed)
    for spec in context.assets_def.check_specs:
        yield dg.Output(None, output_name=spec.get_python_identifier())
    yield dg.MaterializeResult(metadata={EVENTS_ARE_LOGGED: True})


def _outcomes(
    make: Callable[[list[str | None]], Iterable[Outcome]], stale: list[str | None]
) -> Iterator[Outcome]:
    try:
        yield from make(stale) if stale else ()
    except MissingInputError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def require(ledger: Ledger, asset: str, partition: str | None = None) -> Entry:
    """The ledger entry of an input.

    Raises:
        MissingInputError: it was never made; says which command makes it.
    """
    entry = ledger.read(asset, partition)
    if entry is None:
        which = f" of {partition!r}" if partition else ""
        option = f" --partition {partition}" if partition else ""
        raise MissingInputError(
            f"{asset}{which} has not been made; make it first: "
            f"dagster asset materialize -m curator_assets.definitions --select {asset}{option}"
        )
    return entry


def require_covered(ledger: Ledger, groups: Entry, shard: str) -> None:
    """Refuse to go on with a resolution that was made without this shard as it is now.

    Raises:
        MissingInputError: `duplicate_groups` does not know the shard, or knew another version.
    """
    embeddings = require(ledger, "image_embeddings", shard)
    if groups.state["shards"].get(shard) != embeddings.data_version:
        raise MissingInputError(
            f"duplicate_groups was resolved without the present images of {shard!r}; materialise "
            "cluster_assignments, near_duplicate_pairs and duplicate_groups first"
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


def _provenance(context: dg.AssetExecutionContext) -> dict[str, str]:
    """The tags by which Dagster's own staleness marks see what a partition was made from."""
    key = context.asset_key
    tags = {CODE_VERSION_TAG: context.assets_def.code_versions_by_key[key] or ""}
    for dep in context.assets_def.asset_deps[key]:
        record = context.instance.get_latest_data_version_record(dep)
        version = extract_data_version_from_entry(record.event_log_entry) if record else None
        tags[get_input_data_version_tag(dep)] = (version or DEFAULT_DATA_VERSION).value
        tags[get_input_event_pointer_tag(dep)] = str(record.storage_id) if record else "NULL"
    return tags


def _report(
    context: dg.AssetExecutionContext, made: Made, provenance: dict[str, str], *, made_now: bool
) -> Iterator[Any]:
    tags = provenance | {
        DATA_VERSION_TAG: made.entry.data_version,
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
    }
    if BACKFILL_ID_TAG in context.run.tags:
        tags[BACKFILL_ID_TAG] = context.run.tags[BACKFILL_ID_TAG]
    metadata = {name: _metadata_value(value) for name, value in made.entry.metadata.items()}
    metadata["work_done"] = dg.MetadataValue.bool(made_now)
    yield dg.AssetMaterialization(
        context.asset_key, partition=made.partition, metadata=metadata, tags=tags
    )
    for check, found in made.entry.checks.items():
        yield _evaluation(context, made.partition, check, found, passed=True)
    for check, found in made.entry.warnings.items():
        yield _evaluation(context, made.partition, check, found, passed=False, blocking=False)


def _report_failed(
    context: dg.AssetExecutionContext, outcome: Failed
) -> Iterator[dg.AssetCheckEvaluation]:
    if outcome.check:
        found = {"error": outcome.error}
        yield _evaluation(context, outcome.partition, outcome.check, found, passed=False)


def _tar_observation(shard: str | None, version: str) -> dg.AssetObservation:
    tags = {DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    return dg.AssetObservation(TAR_SHARDS, partition=shard, tags=tags)


def _evaluation(
    context: dg.AssetExecutionContext,
    partition: str | None,
    check: str,
    found: Mapping[str, Any],
    *,
    passed: bool,
    blocking: bool = True,
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=context.asset_key,
        check_name=check,
        passed=passed,
        metadata={name: _metadata_value(value) for name, value in found.items()},
        blocking=blocking,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        partition=partition,
    )


def _metadata_value(value: Any) -> dg.MetadataValue[Any]:
    match value:
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case float():
            return dg.MetadataValue.float(value)
        case str():
            return dg.MetadataValue.text(value)
        case [dict(), *_]:
            return dg.MetadataValue.table([dg.TableRecord(row) for row in value])
        case _:
            return dg.MetadataValue.json(value)


def _failure(asset: str, failed: list[Failed]) -> dg.Failure:
    lines = [f"{f.partition}: {f.error}" if f.partition else f.error for f in failed]
    shown = lines[:20] + [f"… and {len(lines) - 20} more"] * (len(lines) > 20)
    return dg.Failure(
        f"{asset}: {len(failed)} partition(s) could not be made; the others were.\n"
        + "\n".join(shown),
        allow_retries=False,
    )
