"""`duplicate_ids`: what to remove from each shard."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow.compute as pc

from curator_assets.defs.deduplicate.duplicate_groups import DUPLICATE_GROUPS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.engine.partitioning import MissingInputError, Partitioning
from curator_assets.engine.stage import Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.number_words import counted_or_no
from curator_assets.report.pictures.contact_sheets import ContactSheets
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.groups import StoredRemovals
from curator_assets.storage.tables.parquet import write_table

MAX_LISTED = 50
_N_THREADS = 8  # pictures are fetched from storage


def _inputs(work: Work, shard: str) -> Inputs:
    require_covered(work, shard)
    return {DUPLICATE_GROUPS.name: work.require(DUPLICATE_GROUPS).state["removals"].get(shard)}


def _files(shard: str) -> tuple[str, str]:
    return layout.duplicate_ids(shard), layout.contact_sheet("duplicate_ids", shard)


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    store = work.store
    sheets = ContactSheets(DUPLICATE_IDS.name, work.tars, store, work.log)
    rows = StoredRemovals(store)

    def make(shard: str) -> Made:
        name, removed = layout.duplicate_ids(shard), rows.of(shard)
        write_table(store, name, removed, schemas.DUPLICATE_IDS)
        listed = removed.select(schemas.DUPLICATE_IDS.names).slice(0, MAX_LISTED).to_pylist()
        sheet = sheets.of_pairs(shard, removed)
        metadata = {
            "dagster/row_count": len(removed),
            "n_duplicates": len(removed),
            "lowest_cosine": pc.min(removed["cosine"]).as_py() or 1.0,
            **sheet.metadata,
            "removals": [row | {"cosine": round(row["cosine"], 4)} for row in listed],
            "file": store.url(name),
        }
        return Made(shard, metadata, files=(name,), shown=sheet.files)

    yield make


def _words(n: Mapping[str, int], settings: Settings) -> str:
    found = counted_or_no(n["n_duplicates"], "duplicate")
    return f"{found} to remove here at eps {settings.duplicates.eps:g}"


DUPLICATE_IDS = Stage(
    name="duplicate_ids",
    by=Partitioning.SHARD,
    deps=(Dep(DUPLICATE_GROUPS),),
    group="4_deduplicate",
    kinds=frozenset({"parquet"}),
    description="The duplicates to remove from each shard, with pictures of some beside what stands"
    " for them.\n\n"
    "A partition is a shard; it costs seconds, most of them for the pictures. Its version is a "
    "hash of the set: it is stale only if what is removed from this very shard has changed, so a "
    "new tar leaves most shards as they are.",
    version="1",
    covers=lambda _: None,
    files=_files,
    inputs=_inputs,
    making=OneByOne(_open, n_threads=_N_THREADS),
    columns=lambda _: schemas.DUPLICATE_IDS,
    unit="duplicates",
    counts=("dagster/row_count", "n_duplicates"),
    words=_words,
)


def require_covered(work: Work, shard: str) -> None:
    """Refuse to go on with a resolution that was made without this shard as it is now.

    Raises:
        MissingInputError: the resolution does not know the shard, or knew another version.
    """
    version, groups = work.version(IMAGE_EMBEDDINGS, shard), work.require(DUPLICATE_GROUPS)
    covered = work.once(
        (require_covered, groups.data_version), lambda: dict(groups.state["shards"])
    )
    if covered.get(shard) != version:
        raise MissingInputError(
            f"{DUPLICATE_GROUPS.name} was resolved without the present images of {shard!r}; "
            "materialise all that it is made from, and itself, first"
        )
