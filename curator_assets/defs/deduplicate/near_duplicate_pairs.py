"""`near_duplicate_pairs`: every pair of images at cosine >= 1 - max_eps, by cell group."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.measured_recall import measured_recall
from curator_assets.defs.deduplicate.pair_search import PairSearch, members_by_group
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.engine.freshness import why_other_code
from curator_assets.engine.partitioning import MissingInputError, Partitioning
from curator_assets.engine.stage import Check, Dep, Inputs, Made, Make, Observed, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.errors import DamagedFileError
from curator_assets.number_words import counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.pair_tables import earlier_of
from curator_assets.storage.tables.parquet import read_table, write_table
from curator_assets.storage.versions import hash_of, stored_files

if TYPE_CHECKING:
    from curator_assets.kernels.join import EarlierSearch

SMALL_SEARCH = 50_000
"""Images below which any search is cheap."""

MIN_RECALL = {"exact": 1.0, "fast": 0.9999}

_RECALL = "recall"
RECALL_RECORD = "pair_recall"
"""The ledger entry of what was found of the pairs in force, for the report."""

_SCHEMAS = schemas.PAIRS, schemas.DENSE_MEMBERS, schemas.SEARCHED


def _inputs(work: Work, group: str) -> Inputs:
    members = work.once(_members, lambda: _members(work))
    return {"members of the cells": members.get(int(group)) or hash_of([])}


def _members(work: Work) -> dict[int, str]:
    """What all shards bring to each cell group, hashed."""
    members = members_by_group(assigned_shards(work))
    return {group: hash_of(brought) for group, brought in members.items()}


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    search, costs = _search(work), list[int]()

    def make(group: str) -> Made:
        made = _search_group(work, search, group)
        costs.append(int(made.metadata["n_compared"]))
        if len(costs) == 1 and (warning := _too_costly(costs[0], search.n_images, work)):
            work.log.warning(warning)
        return made

    yield make


def _search(work: Work) -> PairSearch:
    """A search over all images."""
    assigned = assigned_shards(work)
    work.require_as_recorded(CENTROIDS)
    versions = [(shard, entry.fingerprint) for shard, entry in assigned.items()]

    def opened() -> AbstractContextManager[PairSearch]:
        return nullcontext(PairSearch(work.store, work.settings, assigned))

    return work.held.get((_search, versions), opened)


def _observe(work: Work, new: Sequence[np.ndarray]) -> Iterator[Observed]:
    """The recall of all groups together, given the samples that each compared anew."""
    duplicates = work.settings.duplicates
    search = _search(work)
    if not duplicates.recall_queries or not search.n_images:
        return
    began = time.process_time()
    recall, told = measured_recall(search, work.cell_groups, _together(new))
    low, high = recall.interval()
    found = {
        "recall": recall.recall,
        "recall_low": low,
        "recall_high": high,
        "n_queries": recall.n_queries,
        "n_true": recall.n_true,
        "n_missed": recall.n_true - recall.n_found,
        "n_ties": recall.n_ties,
        **told,
        "search": duplicates.search,
        "cpu_seconds": time.process_time() - began,
    }
    known, asked = _recall_record(work), {"recall_queries": duplicates.recall_queries}
    if known is None or not asked.items() <= known.items():  # else no report is to change by it
        state = {"n_queries": recall.n_queries, "n_true": recall.n_true, "n_found": recall.n_found}
        work.ledger.write(RECALL_RECORD, None, Entry(_searched(work), "", state=state | asked))
    yield Observed(_RECALL, recall.recall >= MIN_RECALL[duplicates.search], found)


def _together(samples: Sequence[np.ndarray]) -> np.ndarray:
    """int64, ascending, each once."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *samples]))


def pairs_version(work: Work) -> str:
    """Of the pairs of all cell groups.

    Raises:
        MissingInputError: those of a group were never made.
    """
    return hash_of([work.version(NEAR_DUPLICATE_PAIRS, group) for group in work.cell_groups])


def recall_in_force(work: Work) -> Mapping[str, int] | None:
    """`n_queries`, `n_true` and `n_found` of the pairs in force; None if it was not measured."""
    known = _recall_record(work) if work.settings.duplicates.recall_queries else None
    return known and {name: known[name] for name in ("n_queries", "n_true", "n_found")}


def _recall_record(work: Work) -> Mapping[str, int] | None:
    """What was found of the pairs in force, and the setting by which; None without any."""
    entry = work.ledger.read(RECALL_RECORD)
    return entry.state if entry is not None and entry.fingerprint == _searched(work) else None


def _searched(work: Work) -> str:
    """Of the pairs, and how far they were searched: a fast search may find no more farther."""
    return hash_of([pairs_version(work), work.settings.duplicates.max_eps])


def _files(group: str) -> tuple[str, str, str]:
    return layout.pairs(group), layout.dense_members(group), layout.searched(group)


def _words(n: Mapping[str, int], settings: Settings) -> str:
    n_found = n["n_pairs"] + n["n_identical"]
    words = (
        f"{counted_or_no(n_found, 'pair')} of images within max_eps {settings.duplicates.max_eps:g}"
    )
    if n["n_identical"]:
        of_them = f"{n['n_identical']:,} of them " if n_found > 1 else ""
        words += f", {of_them}with equal embeddings"
    if n["n_in_dense_clumps"]:
        images = counted_or_no(n["n_in_dense_clumps"], "image")
        words += f"; {images} in clumps too dense to list every pair"
    return words


NEAR_DUPLICATE_PAIRS = Stage(
    name="near_duplicate_pairs",
    by=Partitioning.CELL_GROUP,
    deps=(Dep(CLUSTER_ASSIGNMENTS),),
    group="4_deduplicate",
    kinds=frozenset({"torch", "parquet"}),
    description="Every pair of images within max_eps, searched once and stored.\n\n"
    "A partition is a group of cells, not a shard. A new tar makes those stale that its images "
    "fall into, and there only new images are compared with all. Another `max_eps` has "
    "everything searched anew; a smaller `eps`, or another policy of what is kept, needs no "
    "search.",
    version="2",
    covers=lambda settings: settings.duplicates.max_eps,
    files=_files,
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
    counts=("dagster/row_count", "n_pairs", "n_identical", "n_in_dense_clumps"),
    words=_words,
    is_spread=True,
)


def assigned_shards(work: Work) -> dict[str, Entry]:
    """The shards that are searched, with the entries of their assignments.

    Raises:
        MissingInputError: an assignment is to another codebook or to other cell groups, or of
            embeddings that changed.
    """
    return work.once(assigned_shards, lambda: _assigned_shards(work))


def _assigned_shards(work: Work) -> dict[str, Entry]:
    taken, codebook = shards_of_one_id_each(work), work.version(CENTROIDS)
    made = work.made_shards(CLUSTER_ASSIGNMENTS)
    assigned = {shard: entry for shard, entry in made.items() if shard in taken}
    for shard, entry in assigned.items():
        n_groups = entry.state["n_cell_groups"]
        if n_groups != work.settings.clusters.n_cell_groups:
            raise MissingInputError(
                f"{CLUSTER_ASSIGNMENTS.name} of {shard!r} are to {n_groups} cell groups, not to "
                f"{work.settings.clusters.n_cell_groups}; materialise {CLUSTER_ASSIGNMENTS.name} "
                "first"
            )
        embeddings = work.version(IMAGE_EMBEDDINGS, shard)
        made_from = entry.inputs[CENTROIDS.name], entry.inputs[IMAGE_EMBEDDINGS.name]
        if made_from != (codebook, embeddings):
            raise MissingInputError(
                f"{CLUSTER_ASSIGNMENTS.name} of {shard!r} are older than its embeddings or the "
                f"{CENTROIDS.name}; materialise {CLUSTER_ASSIGNMENTS.name} first"
            )
    return assigned


def _search_group(work: Work, search: PairSearch, group: str) -> Made:
    store, settings = work.store, work.settings
    names, earlier = _files(group), _earlier(work, group)
    found = search.tables(group, earlier)
    tables, kinds = (found.pairs, found.dense, found.searched), _SCHEMAS
    for name, table, schema in zip(names, tables, kinds, strict=True):
        write_table(store, name, table, schema)
    n_identical = pc.sum(found.pairs["identical"]).as_py() or 0
    metadata = {
        "dagster/row_count": len(found.pairs),
        "n_pairs": len(found.pairs) - n_identical,
        "n_identical": n_identical,
        "n_in_dense_clumps": len(found.dense),
        "carried_over": earlier is not None,
        **found.told,
        "max_eps": settings.duplicates.max_eps,
        "file": store.url(names[0]),
    }
    share = found.told["n_compared"] / max(found.told["n_comparable"], 1)
    state = _same_cells(work) | {"share": min(1.0, share)}
    return Made(group, metadata, state=state, observed=found.new)


def _same_cells(work: Work) -> dict[str, Any]:
    """What makes two searches of a group searches of the same cells."""
    n_groups = work.settings.clusters.n_cell_groups
    return {"centroids": work.version(CENTROIDS), "n_cell_groups": n_groups}


def _earlier(work: Work, group: str) -> "EarlierSearch | None":
    """What the last search of a group found, if it was of these cells and is there as it was."""
    entry, names = work.entry(NEAR_DUPLICATE_PAIRS, group), _files(group)
    if entry is None or work.is_forced or not _same_cells(work).items() <= entry.state.items():
        return None
    if why_other_code(NEAR_DUPLICATE_PAIRS, work, group):
        return None
    try:
        if stored_files(work.store, names) != entry.files:
            raise ValueError("not as they were recorded")
        return earlier_of(*(read_table(work.store, name) for name in names))
    except (FileNotFoundError, DamagedFileError, ValueError) as error:
        work.log.warning(
            "cell group %s is searched from scratch: what was found before can't be used (%s)",
            group,
            error,
        )
        return None


def _too_costly(n_compared: int, n_images: int, work: Work) -> str | None:
    """A warning, by the pairs that the first group compares."""
    settings = work.settings.duplicates
    expected = n_compared * len(work.cell_groups) / max(n_images * (n_images - 1) / 2, 1)
    if n_images < SMALL_SEARCH or expected <= settings.max_search_share:
        return None
    return (
        f"searching to max_eps {settings.max_eps} compares about {expected:.0%} of all pairs of "
        f"{n_images} images, above duplicates.max_search_share {settings.max_search_share:.0%}; "
        "a smaller max_eps or search: fast costs less"
    )
