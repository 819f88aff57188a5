"""`duplicate_groups`: which image stands for which, at which cosine."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.deduplicate.removals import Removals
from curator_assets.defs.deduplicate.resolver import Resolver, needs_assignments
from curator_assets.defs.deduplicate.stored_pairs import SharedIdError, stored_pairs
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.defs.filter.filter_scores import FILTER_SCORES
from curator_assets.engine.freshness import CODE, why_stale
from curator_assets.engine.partitioning import ALL, MissingInputError, PartitionError, Partitioning
from curator_assets.engine.stage import Check, Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.number_words import counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.groups import removals_version, written_groups
from curator_assets.storage.versions import hash_of

_UNIQUE_IDS, _KEPT_IDS_ARE_KEPT = "unique_ids", "every_kept_id_is_kept"


def _covers(settings: Settings) -> object:
    """What decides which image stands for which; a seed and columns only where they are used."""
    duplicates = settings.duplicates
    order = {"best": duplicates.best_by, "random": duplicates.seed}.get(duplicates.keep)
    return [duplicates.model_dump(include={"eps", "keep", "rule"}), order, settings.filters]


def _inputs(work: Work, _: str) -> Inputs:
    shards, pairs = shards_of_one_id_each(work), NEAR_DUPLICATE_PAIRS
    for group in work.cell_groups:
        if why := why_stale(pairs, work, group):
            raise MissingInputError(
                f"{pairs.name} of {group!r} are not up to date ({why}); materialise {pairs.name} "
                "first"
            )
    _require_scores(work, shards)
    by_shard = [IMAGE_EMBEDDINGS, FILTER_SCORES]
    by_shard += [CLUSTER_ASSIGNMENTS] * needs_assignments(work.settings)
    versions = {
        stage.name: hash_of([(shard, work.version(stage, shard)) for shard in shards])
        for stage in by_shard
    }
    return versions | {pairs.name: hash_of([work.version(pairs, g) for g in work.cell_groups])}


def _require_scores(work: Work, shards: Iterable[str]) -> None:
    """Refuse scores of other heads than those that rules may name.

    Raises:
        MissingInputError: of a shard, by name.
    """
    code, scores = FILTER_SCORES.code_version(work.settings), work.made_shards(FILTER_SCORES)
    for shard in shards:
        if shard in scores and scores[shard].inputs.get(CODE) != code:
            raise MissingInputError(
                f"{FILTER_SCORES.name} of {shard!r} are of other heads than the settings name; "
                f"materialise {FILTER_SCORES.name} first"
            )


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    def make(_: str) -> Made:
        return _resolve(work)

    yield make


def _resolve(work: Work) -> Made:
    settings, store = work.settings, work.store
    embedded = shards_of_one_id_each(work)
    stored, eps = stored_pairs(work), settings.duplicates.eps
    resolver = Resolver(stored, settings, max_eps=eps)
    try:
        removals = resolver.resolve(eps)
    except SharedIdError as error:
        raise PartitionError(str(error), check=_UNIQUE_IDS) from error
    if removals.n_orphans and settings.duplicates.rule == "greedy":
        message = f"{removals.n_orphans} kept_ids are not kept: please report this as a bug"
        raise PartitionError(message, check=_KEPT_IDS_ARE_KEPT)
    versions = dict[str, str]()
    with written_groups(store) as writer:
        for table in removals.tables():
            writer.append(table)
            versions[table["shard"][0].as_py()] = removals_version(table)
    return Made(
        ALL,
        metadata=_metadata(resolver, removals, settings)
        | {"file": store.url(layout.DUPLICATE_GROUPS)},
        checks={_KEPT_IDS_ARE_KEPT: {"rule": settings.duplicates.rule}, _UNIQUE_IDS: {}},
        state={
            "shards": [[shard, entry.data_version] for shard, entry in embedded.items()],
            "removals": versions,
            "n_taking_part": resolver.n_taking_part,
        },
    )


def _words(n: Mapping[str, int], settings: Settings) -> str:
    images = counted_or_no(n["n_taking_part"], "image")
    found = f"{counted_or_no(n['n_duplicates'], 'duplicate')} among {images}"
    words = f"{found} at eps {settings.duplicates.eps:g}"
    if not n["n_duplicates"]:
        return words
    groups, largest = (
        counted_or_no(n["n_groups"], "group"),
        counted_or_no(n["largest_group"], "image"),
    )
    return f"{words}, in {groups}; the largest has {largest}"


DUPLICATE_GROUPS = Stage(
    name="duplicate_groups",
    by=Partitioning.WHOLE,
    deps=(
        Dep(NEAR_DUPLICATE_PAIRS),
        Dep(IMAGE_EMBEDDINGS),
        Dep(FILTER_SCORES),
        Dep(CLUSTER_ASSIGNMENTS),
    ),
    group="4_deduplicate",
    kinds=frozenset({"parquet"}),
    description="The decision: each image that is removed, and the kept image that stands for "
    "it.\n\n"
    "One table, without partitions, resolved from the stored pairs in seconds. An image takes "
    "part only if it passes the filters. Another pair, score or shard, and another `eps`, `keep`,"
    " `rule` or filter make it stale.",
    version="2",
    covers=_covers,
    files=lambda _: (layout.DUPLICATE_GROUPS,),
    inputs=_inputs,
    making=OneByOne(_open),
    checks=(
        Check(_KEPT_IDS_ARE_KEPT, "Every removed image names a kept one that is itself kept."),
        Check(_UNIQUE_IDS, "No image id occurs twice."),
    ),
    columns=lambda _: schemas.DUPLICATE_GROUPS,
    unit="duplicates",
    counts=("n_taking_part", "n_duplicates", "n_groups", "largest_group"),
    words=_words,
)


def _metadata(resolver: Resolver, removals: Removals, settings: Settings) -> dict[str, Any]:
    duplicates = settings.duplicates
    return {
        "dagster/row_count": removals.n_images,
        "n_images": resolver.n_rows,
        "n_taking_part": resolver.n_taking_part,
        "n_duplicates": removals.n_images,
        "duplicate_fraction": removals.n_images / max(resolver.n_taking_part, 1),
        "n_groups": removals.n_groups,
        "largest_group": removals.largest_group,
        "eps": duplicates.eps,
        "keep": duplicates.keep,
        "rule": duplicates.rule,
        "filters": [rule.reason for rule in settings.filters],
        "n_orphans": removals.n_orphans,
    }
