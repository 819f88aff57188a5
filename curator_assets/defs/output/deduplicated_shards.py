"""`deduplicated_shards`: the curated tars, and what became of every sample."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.deduplicate.duplicate_ids import DUPLICATE_IDS, MAX_LISTED, require_covered
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.filter.filter_scores import FILTER_SCORES
from curator_assets.defs.filter.sample_rules import read_samples_table, readable_mask
from curator_assets.defs.output.verdicts import (
    KEPT,
    cause,
    kept_keys,
    verdict_table,
    words_of_verdicts,
)
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.partitioning import PartitionError, Partitioning
from curator_assets.engine.stage import Check, Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.report.pictures.contact_sheets import ContactSheets
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry
from curator_assets.storage.shards.curated import CuratedTarError, write_curated_tar
from curator_assets.storage.shards.tars import BrokenTarError
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import read_table, write_table
from curator_assets.storage.versions import hash_of, stored_files

_VERSION = "1"
_ACCOUNTING, _BYTES_EQUAL_SOURCE = "accounting", "bytes_equal_source"


def _inputs(work: Work, shard: str) -> Inputs:
    require_covered(work, shard)
    versions = work.versions(shard, IMAGE_EMBEDDINGS, FILTER_SCORES, DUPLICATE_IDS)
    # captions are no part of the embeddings, but of the curated tar
    return versions | {TAR_SHARDS.name: _tar_version(work, shard)}


def _tar_version(work: Work, shard: str) -> str:
    """Of the tar that was embedded."""
    return str(work.require(IMAGE_EMBEDDINGS, shard).state["tar"])


def _files(shard: str) -> tuple[str, str, str]:
    sheet = layout.contact_sheet("deduplicated_shards", shard)
    return layout.curated_table(shard), layout.curated_tar(shard), sheet


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    sheets = ContactSheets(DEDUPLICATED_SHARDS.name, work.tars, work.store, work.log)

    def make(shard: str) -> Made:
        try:
            return _curate(shard, work, sheets)
        except (BrokenTarError, CuratedTarError) as error:
            raise PartitionError(str(error), check=_BYTES_EQUAL_SOURCE) from error

    yield make


DEDUPLICATED_SHARDS = Stage(
    name="deduplicated_shards",
    by=Partitioning.SHARD,
    deps=(Dep(TAR_SHARDS), Dep(IMAGE_EMBEDDINGS), Dep(FILTER_SCORES), Dep(DUPLICATE_IDS)),
    group="5_output",
    kinds=frozenset({"webdataset", "parquet"}),
    description="The curated tars: every kept sample, byte for byte, and a verdict on every sample "
    "that was read.\n\n"
    "A partition is a shard; it costs reading and writing its tar, which is written again only if"
    " what is kept of it has changed. Other embeddings, scores or duplicates of the shard, "
    "another filter and a tar with other content make it stale.",
    version=_VERSION,
    covers=lambda settings: [settings.filters, settings.columns],
    files=_files,
    inputs=_inputs,
    making=OneByOne(_open),
    checks=(
        Check(_ACCOUNTING, "kept + filtered + duplicates + unreadable = read."),
        Check(_BYTES_EQUAL_SOURCE, "The curated tar, read back, holds the source's very bytes."),
    ),
    columns=lambda settings: schemas.curated(settings.columns),
    named_columns="score of this head",
    unit="kept samples",
    counts=(
        "dagster/row_count",
        "n_samples",
        "n_kept",
        "n_filtered",
        "n_duplicates",
        "n_unreadable",
    ),
    words=words_of_verdicts,
    is_spread=True,
)


def counts_by_verdict(work: Work) -> Counter[str]:
    """The samples of all shards that were curated, by verdict."""
    counts = Counter[str]()
    for entry in work.made_shards(DEDUPLICATED_SHARDS).values():
        counts.update(entry.checks.get(_ACCOUNTING, {}))
    return counts


def _curate(shard: str, work: Work, sheets: ContactSheets) -> Made:
    """Write the shard's table, and its tar if what it keeps has changed."""
    settings, store = work.settings, work.store
    removed = read_table(store, layout.duplicate_ids(shard))
    table = verdict_table(read_samples_table(store, shard, settings), removed, settings)
    counts = Counter(table["verdict"].to_pylist())
    if counts.total() != work.require(IMAGE_EMBEDDINGS, shard).state["n_samples"]:
        message = f"{dict(counts)} is not every sample of {shard!r}"
        raise PartitionError(message, check=_ACCOUNTING)
    keys, tar_version = kept_keys(table), _tar_version(work, shard)
    kept = kept_version(tar_version, keys)
    beside, tar = layout.curated_table(shard), layout.curated_tar(shard)
    before = None if work.is_forced else work.entry(DEDUPLICATED_SHARDS, shard)
    rewrite = not (before and before.state.get("kept") == kept and _in_place(store, before, tar))
    if rewrite and keys and shard in work.absent:
        raise PartitionError(
            f"shard {shard!r}: what is kept of it has changed, but its tar can't be read now; the "
            "curated tar stays as it was until the tar is back"
        )
    if rewrite and keys:
        n_bytes = work.n_bytes.get(shard)
        write_curated_tar(work.tars, store, shard, set(keys), tar_version, n_bytes)
    elif rewrite:
        store.remove(tar)
    write_table(store, beside, table, schemas.curated(settings.columns))
    causes = _causes(table)
    dropped = dict(Counter(why for why in causes if why != KEPT).most_common())
    sheet = sheets.of_reasons(shard, _pictured(table, causes), dropped)
    places = {
        "tar": store.url(tar) if keys else "none: nothing is kept",
        "table": store.url(beside),
        "tar_rewritten": rewrite,
    }
    return Made(
        shard,
        files=(beside, tar) if keys else (beside,),
        shown=sheet.files,
        metadata=_metadata(table, counts, dropped, settings) | sheet.metadata | places,
        checks={_ACCOUNTING: dict(counts), _BYTES_EQUAL_SOURCE: {}},
        state={"kept": kept},
    )


def kept_version(tar_version: str, keys: list[str]) -> str:
    """What a curated tar holds: it is written again only if this changes."""
    return hash_of(_VERSION, tar_version, keys)


def _in_place(store: Store, before: Entry, tar: str) -> bool:
    """Whether the tar that was written last is still there, whole; it may rightly be none."""
    try:
        return before.files.get(tar) == stored_files(store, [tar])[tar]
    except FileNotFoundError:
        return tar not in before.files


def _causes(table: pa.Table) -> list[str]:
    """Why each sample was dropped, or that it was kept."""
    verdicts, reasons = table["verdict"].to_pylist(), table["reason"].to_pylist()
    return [cause(verdict, reason) for verdict, reason in zip(verdicts, reasons, strict=True)]


def _pictured(table: pa.Table, causes: list[str]) -> list[str | None]:
    """Why each sample was dropped; None for what was kept, and of what there can be no picture."""
    readable = readable_mask(table)
    return [why if ok and why != KEPT else None for why, ok in zip(causes, readable, strict=True)]


def _metadata(
    table: pa.Table, counts: Counter[str], dropped: dict[str, int], settings: Settings
) -> dict[str, Any]:
    n = max(len(table), 1)
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
        "dropped": [{"why": why, "samples": count} for why, count in dropped.items()],
        "removals": removals.select(["key", "verdict", "reason"]).to_pylist(),
        "eps": settings.duplicates.eps,
        "filters": [rule.reason for rule in settings.filters],
    }
