"""`deduplicated_shards`: the curated tars, and what became of every sample."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.contact_sheets import ContactSheets
from curator_assets.defs.describe import column_schema
from curator_assets.defs.duplicate_ids import MAX_LISTED, require_covered
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.progress import Progress
from curator_assets.defs.stage import Failed, Inputs, Made, Outcome, Stage, Work
from curator_assets.defs.verdicts import (
    KEPT,
    cause,
    kept_keys,
    read_samples_table,
    readable_mask,
    verdict_table,
)
from curator_assets.partitions import SHARDS
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.curated import CuratedTarError, write_curated_tar
from curator_assets.storage.ledger import Entry, hash_of
from curator_assets.storage.retries import with_retries
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table, write_table
from curator_assets.storage.tars import BrokenTarError

ASSET = "deduplicated_shards"
CODE_VERSION = "1"


def code_version(settings: Settings) -> str:
    """What the verdicts depend on beside scores and duplicate ids."""
    return f"{CODE_VERSION}-{hash_of(settings.filters, settings.columns)}"


def build_deduplicated_shards(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        partitions_def=SHARDS,
        deps=["tar_shards", "image_embeddings", "filter_scores", "duplicate_ids"],
        group_name="output",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        check_specs=[
            dg.AssetCheckSpec(
                "accounting",
                description="kept + filtered + duplicates + unreadable = read.",
                asset=ASSET,
                blocking=True,
            ),
            dg.AssetCheckSpec(
                "bytes_equal_source",
                description="The curated tar, read back, holds the source's very bytes.",
                asset=ASSET,
                blocking=True,
            ),
        ],
        kinds={"webdataset", "parquet"},
        metadata=column_schema(schemas.curated(settings.columns), others="score of this head"),
        description="The curated tar: every member of every kept sample, byte for byte, in the "
        "order it came; and a table of what was kept and what was dropped, and why.",
    )
    def deduplicated_shards(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return deduplicated_shards


def stage(work: Work) -> Stage:
    """How a shard is curated."""
    settings = work.settings

    def inputs(shard: str | None) -> Inputs:
        assert shard is not None
        require_covered(work, shard)
        assets = ("image_embeddings", "filter_scores", "duplicate_ids")
        versions = {asset: work.require_version(asset, shard) for asset in assets}
        # captions are no part of the embeddings, but of the curated tar
        return versions | {"tar_shards": work.require("image_embeddings", shard).state["tar"]}

    def make(shards: list[str | None]) -> Iterator[Outcome]:
        progress, sheets = Progress(work.log, "samples", len(shards)), ContactSheets(work)
        for shard in shards:
            assert shard is not None
            curate = partial(_curate, shard, work, progress, sheets)
            try:
                yield with_retries(curate, f"shard {shard!r}", work.log)
            except (BrokenTarError, CuratedTarError) as error:
                yield Failed(shard, str(error), check="bytes_equal_source")
            except OSError as error:
                yield Failed(shard, str(error))
            progress.finish_partition()

    return Stage(ASSET, code_version(settings), inputs, make)


def _curate(shard: str, work: Work, progress: Progress, sheets: ContactSheets) -> Outcome:
    """Write the shard's table, and its tar if what it keeps has changed."""
    settings, store = work.settings, work.store
    removed = read_table(store, layout.duplicate_ids(shard))
    table = verdict_table(read_samples_table(store, shard, settings), removed, settings)
    counts = Counter(table["verdict"].to_pylist())
    if counts.total() != len(read_table(store, layout.embeddings(shard), ["position"])):
        return Failed(shard, f"{dict(counts)} is not every sample of {shard!r}", "accounting")
    keys = kept_keys(table)
    tar_version = work.require("image_embeddings", shard).state["tar"]
    kept = kept_version(tar_version, keys)
    tar, beside = layout.curated_tar(shard), layout.curated_table(shard)
    before = work.ledger.read(ASSET, shard)
    rewrite = not (before and before.state.get("kept") == kept and _in_place(store, before, tar))
    if rewrite and keys:
        write_curated_tar(work.storage.tars, store, shard, set(keys), tar_version)
    elif rewrite:
        store.remove(tar)
    write_table(store, beside, table, schemas.curated(settings.columns))
    progress.advance(len(table))
    return Made(
        shard,
        files=(beside, tar) if keys else (beside,),
        metadata=_metadata(table, counts, settings, store, shard, rewrite, sheets),
        checks={"accounting": dict(counts), "bytes_equal_source": {}},
        state={"kept": kept},
    )


def kept_version(tar_version: str, keys: list[str]) -> str:
    """What a curated tar holds: it is written again only if this changes."""
    return hash_of(CODE_VERSION, tar_version, keys)


def _in_place(store: Store, before: Entry, tar: str) -> bool:
    """Whether the tar that was written last is still there; it may rightly be none."""
    return before.files.get(tar) == store.size(tar)


def _metadata(
    table: pa.Table,
    counts: Counter[str],
    settings: Settings,
    store: Store,
    shard: str,
    rewritten: bool,
    sheets: ContactSheets,
) -> dict[str, Any]:
    n = max(len(table), 1)
    verdicts, reasons = table["verdict"].to_pylist(), table["reason"].to_pylist()
    causes = [cause(verdict, reason) for verdict, reason in zip(verdicts, reasons, strict=True)]
    dropped = Counter(why for why in causes if why != KEPT)
    readable = readable_mask(table)
    pictured = [
        why if ok and why != KEPT else None for why, ok in zip(causes, readable, strict=True)
    ]
    removals = table.filter(pc.field("verdict") != KEPT).slice(0, MAX_LISTED)
    return {
        "dagster/row_count": counts["kept"],
        "n_samples": len(table),
        "n_kept": counts["kept"],
        "n_filtered": counts["filtered"],
        "n_duplicates": counts["duplicate"],
        "n_unreadable": counts["unreadable"],
        "kept_fraction": counts["kept"] / n,
        "duplicate_fraction": counts["duplicate"] / n,
        "dropped": [{"why": why, "samples": count} for why, count in dropped.most_common()],
        **sheets.of_reasons(shard, pictured, dict(dropped.most_common())),
        "removals": removals.select(["key", "verdict", "reason"]).to_pylist(),
        "eps": settings.duplicates.eps,
        "filters": [rule.reason for rule in settings.filters],
        "tar": store.url(layout.curated_tar(shard)) if counts["kept"] else "none: nothing is kept",
        "table": store.url(layout.curated_table(shard)),
        "tar_rewritten": rewritten,
    }
