"""`near_duplicate_pairs`: every pair of images at cosine >= 1 - max_eps, by cell group."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import pyarrow.compute as pc

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.pair_search import PairSearch, open_search
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.engine.partitioning import MissingInputError, Partitioning
from curator_assets.engine.stage import Check, Dep, Inputs, Made, Make, Observed, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry, hash_of
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import write_table

SMALL_SEARCH = 50_000
"""Images below which any search is cheap."""

MIN_RECALL = {"exact": 1.0, "fast": 0.9999}

_RECALL = "recall"


def _inputs(work: Work, group: str) -> Inputs:
    return {"members of the cells": hash_of(group_members(group, assigned_shards(work)))}


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    settings, search = work.settings, _search(work)
    cost = search.cost()
    warning = _too_costly(cost, search.n_images, settings)
    if warning:
        work.log.warning(warning)

    def make(group: str) -> Made:
        return _search_group(work.store, search, group, cost, settings)

    yield make


def _search(work: Work) -> PairSearch:
    """A search over all images, which are read once for the pairs and for their recall."""
    assigned = assigned_shards(work)
    versions = [(shard, entry.fingerprint) for shard, entry in assigned.items()]
    opened = partial(open_search, work.store, assigned, work.settings)
    return work.held.get((_search, versions), opened)


def _observe(work: Work) -> Iterator[Observed]:
    """The recall of all groups together."""
    duplicates = work.settings.duplicates
    if not duplicates.recall_queries:
        return
    search = _search(work)
    if not search.n_images:
        return
    recall = search.recall(work.cell_groups, n_queries=duplicates.recall_queries)
    low, high = recall.interval()
    found = {
        "recall": recall.recall,
        "recall_low": low,
        "recall_high": high,
        "n_queries": recall.n_queries,
        "n_true": recall.n_true,
        "n_missed": recall.n_true - recall.n_found,
        "n_ties": recall.n_ties,
        "search": duplicates.search,
    }
    yield Observed(_RECALL, recall.recall >= MIN_RECALL[duplicates.search], found)


NEAR_DUPLICATE_PAIRS = Stage(
    name="near_duplicate_pairs",
    by=Partitioning.CELL_GROUP,
    deps=(Dep(CLUSTER_ASSIGNMENTS),),
    group="deduplicate",
    kinds=frozenset({"torch", "parquet"}),
    description="Every pair at cosine >= 1 - max_eps whose search falls to a group of cells. "
    "Stored once, so that a smaller eps or another policy needs no new search.",
    version="1",
    covers=lambda settings: settings.duplicates.max_eps,
    files=lambda group: (layout.pairs(group), layout.dense_members(group)),
    inputs=_inputs,
    making=OneByOne(_open),
    checks=(
        Check(
            _RECALL,
            "Share of the near-duplicates of a seeded sample of images, found by brute force, "
            "that the search found.",
            blocking=False,
        ),
    ),
    columns=lambda _: schemas.PAIRS,
    observe=_observe,
    unit="pairs",
)


def assigned_shards(work: Work) -> dict[str, Entry]:
    """The shards that are searched, with the entries of their assignments.

    Raises:
        MissingInputError: an assignment is to another codebook, or of embeddings that changed.
    """
    return work.once(assigned_shards, lambda: _assigned_shards(work))


def _assigned_shards(work: Work) -> dict[str, Entry]:
    taken, codebook = shards_of_one_id_each(work), work.version(CENTROIDS)
    made = work.made_shards(CLUSTER_ASSIGNMENTS)
    assigned = {shard: entry for shard, entry in made.items() if shard in taken}
    for shard, entry in assigned.items():
        embeddings = work.version(IMAGE_EMBEDDINGS, shard)
        made_from = entry.inputs[CENTROIDS.name], entry.inputs[IMAGE_EMBEDDINGS.name]
        if made_from != (codebook, embeddings):
            raise MissingInputError(
                f"{CLUSTER_ASSIGNMENTS.name} of {shard!r} are older than its embeddings or the "
                f"{CENTROIDS.name}; materialise {CLUSTER_ASSIGNMENTS.name} first"
            )
    return assigned


def group_members(group: str, assigned: Mapping[str, Entry]) -> list[tuple[str, str]]:
    """What each shard brings to a cell group: shard and digest, in order of arrival."""
    digests = {
        shard: entry.state["groups"].get(str(int(group))) for shard, entry in assigned.items()
    }
    return [(shard, digest) for shard, digest in digests.items() if digest]


def _search_group(
    store: Store, search: PairSearch, group: str, cost: dict[str, float], settings: Settings
) -> Made:
    pairs, dense = search.tables(group)
    names = layout.pairs(group), layout.dense_members(group)
    write_table(store, names[0], pairs, schemas.PAIRS)
    write_table(store, names[1], dense, schemas.DENSE_MEMBERS)
    n_identical = pc.sum(pairs["identical"]).as_py() or 0
    metadata = {
        "dagster/row_count": len(pairs),
        "n_pairs": len(pairs) - n_identical,
        "n_identical": n_identical,
        "n_across_cells": len(pairs) - (pc.sum(pairs["same_cell"]).as_py() or 0),
        "n_in_dense_clumps": len(dense),
        **cost,
        "max_eps": settings.duplicates.max_eps,
        "url": store.url(names[0]),
    }
    return Made(group, metadata)


def _too_costly(cost: dict[str, float], n_images: int, settings: Settings) -> str | None:
    share = cost["share_of_brute_force"]
    if n_images < SMALL_SEARCH or share <= settings.duplicates.max_search_share:
        return None
    return (
        f"searching to max_eps {settings.duplicates.max_eps} compares {share:.0%} of all pairs of "
        f"{n_images} images, above duplicates.max_search_share "
        f"{settings.duplicates.max_search_share:.0%}; a smaller max_eps or search: fast costs less"
    )
