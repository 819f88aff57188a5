"""`duplicate_groups`: which image stands for which, at which cosine."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs import near_duplicate_pairs
from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.stage import (
    Failed,
    Inputs,
    Made,
    MissingInputError,
    Outcome,
    Stage,
    Work,
)
from curator_assets.defs.verdicts import filter_reasons, read_samples_table, readable_mask
from curator_assets.partitions import cell_groups
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.groups import removals_by_shard
from curator_assets.storage.ledger import hash_of
from curator_assets.storage.pair_tables import RowNumbers, pairs_of
from curator_assets.storage.scratch import DenseVectors
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table, write_table

if TYPE_CHECKING:
    from curator_assets.kernels.resolution import Resolution

ASSET = "duplicate_groups"


def code_version(settings: Settings) -> str:
    """What the resolution depends on beside pairs and scores."""
    duplicates = settings.duplicates.model_dump(exclude={"max_eps", "search"})
    return f"1-eps={settings.duplicates.eps}-{hash_of(duplicates, settings.filters)}"


def build_duplicate_groups(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        deps=["near_duplicate_pairs", "image_embeddings", "filter_scores", "cluster_assignments"],
        group_name="deduplicate",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        check_specs=[
            dg.AssetCheckSpec(
                "every_kept_id_is_kept",
                description="Every removed image names a kept one that is itself kept.",
                asset=ASSET,
                blocking=True,
            ),
            dg.AssetCheckSpec(
                "unique_ids", description="No image id occurs twice.", asset=ASSET, blocking=True
            ),
        ],
        kinds={"parquet"},
        metadata=column_schema(schemas.DUPLICATE_GROUPS),
        description="The resolution: each removed image, the kept image that stands for it and "
        "their cosine. An image takes part only if it passes the filters.",
    )
    def duplicate_groups(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return duplicate_groups


def stage(work: Work) -> Stage:
    """How it is decided which image stands for which."""
    settings, store = work.settings, work.store
    groups = cell_groups(settings.clusters.n_cell_groups).get_partition_keys()
    pairs_stage = near_duplicate_pairs.stage(work)

    def inputs(_: str | None) -> Inputs:
        shards = work.made_shards("image_embeddings")
        per_shard = ["image_embeddings", "filter_scores"]
        per_shard += ["cluster_assignments"] * _needs_assignments(settings)
        for group in groups:
            if why := pairs_stage.why_stale(group, work.ledger):
                raise MissingInputError(
                    f"near_duplicate_pairs of {group!r} are not up to date ({why}); materialise "
                    "near_duplicate_pairs first"
                )
        versions = {
            asset: hash_of([(shard, work.require_version(asset, shard)) for shard in shards])
            for asset in per_shard
        }
        pairs = [work.require_version("near_duplicate_pairs", group) for group in groups]
        return versions | {"near_duplicate_pairs": hash_of(pairs)}

    def make(_: list[str | None]) -> Iterator[Outcome]:
        embedded = work.made_shards("image_embeddings")
        samples, numbers = _read_samples(store, list(embedded), settings)
        if len(samples["image_id"].unique()) != len(samples):
            yield Failed(None, _same_id(samples), check="unique_ids")
            return
        alive = pc.is_null(samples["out"]).to_numpy(zero_copy_only=False)
        resolution = _resolve(store, samples, alive, numbers, list(groups), settings)
        stands = resolution.kept_by[resolution.removed]
        lost = resolution.removed[stands] | ~alive[stands]
        if lost.any() and settings.duplicates.rule == "greedy":
            message = f"{lost.sum()} kept_ids are not kept: please report this as a bug"
            yield Failed(None, message, check="every_kept_id_is_kept")
            return
        table = _removed_table(samples, resolution, numbers)
        write_table(store, layout.DUPLICATE_GROUPS, table, schemas.DUPLICATE_GROUPS)
        yield Made(
            None,
            files=(layout.DUPLICATE_GROUPS,),
            metadata=_metadata(table, alive, settings)
            | {"n_orphans": int(lost.sum()), "url": store.url(layout.DUPLICATE_GROUPS)},
            checks={
                "every_kept_id_is_kept": {"rule": settings.duplicates.rule},
                "unique_ids": {},
            },
            state={
                "shards": {shard: entry.data_version for shard, entry in embedded.items()},
                "removals": {
                    s: hash_of(t.to_pydict()) for s, t in removals_by_shard(table).items()
                },
            },
        )

    return Stage(ASSET, code_version(settings), inputs, make)


def _needs_assignments(settings: Settings) -> bool:
    return settings.duplicates.rule == "semdedup" or settings.duplicates.keep in {"hard", "easy"}


def _read_samples(
    store: Store, shards: list[str], settings: Settings
) -> tuple[pa.Table, RowNumbers]:
    """All samples in order of arrival; `out` says why one takes no part."""
    ranks, tables = read_arrivals(store), []
    for shard in shards:
        table = read_samples_table(store, shard, settings)
        unreadable = pc.if_else(pa.array(readable_mask(table)), None, "unreadable")
        reasons = pa.array(filter_reasons(table, settings.filters), pa.string())
        table = table.append_column("out", pc.coalesce(reasons, unreadable.cast(pa.string())))
        tables.append(table.append_column("arrival", pa.array([ranks[shard]] * len(table))))
    numbers = RowNumbers({shard: len(t) for shard, t in zip(shards, tables, strict=True)})
    return pa.concat_tables(tables), numbers


def _resolve(
    store: Store,
    samples: pa.Table,
    alive: np.ndarray,
    numbers: RowNumbers,
    groups: list[str],
    settings: Settings,
) -> "Resolution":
    from curator_assets.kernels.device import resolve_device
    from curator_assets.kernels.pairs import Pairs
    from curator_assets.kernels.resolution import resolve, resolve_semdedup

    duplicates = settings.duplicates
    pairs = Pairs.concatenate(
        [
            pairs_of(
                read_table(store, layout.pairs(group)),
                read_table(store, layout.dense_members(group)),
                numbers,
            )
            for group in groups
        ]
    )
    vectors = DenseVectors(store, numbers, np.unique(pairs.dense.row))
    home, distance = np.full(numbers.n_rows, -1, np.int32), np.full(numbers.n_rows, np.inf)
    if _needs_assignments(settings):
        for shard in numbers.shards:
            table = read_table(store, layout.assignments(shard))
            rows = numbers.rows_of(shard).start + table["position"].to_numpy()
            home[rows] = table["cell"].to_numpy()
            distance[rows] = 1 - table["centroid_cosine"].to_numpy()
    order = _order(samples, distance, settings)
    min_cosine = 1 - duplicates.eps
    if duplicates.rule == "semdedup":
        return resolve_semdedup(
            pairs,
            home=home,
            alive=alive,
            order=order,
            min_cosine=min_cosine,
            vectors=vectors,
            device=resolve_device(settings.model.device),
        )
    content = samples["content_hash"].combine_chunks().dictionary_encode().indices.fill_null(-1)
    return resolve(
        pairs,
        content=content.to_numpy(),
        alive=alive,
        order=order,
        min_cosine=min_cosine,
        vectors=vectors,
        device=resolve_device(settings.model.device),
    )


def _order(samples: pa.Table, distance: np.ndarray, settings: Settings) -> np.ndarray:
    """int64 [N]: the rows, the first to claim its place first."""
    from curator_assets.kernels.duplicates import (
        arrival_order,
        best_order,
        easy_order,
        hard_order,
        random_order,
    )

    duplicates = settings.duplicates
    arrival, position = samples["arrival"].to_numpy(), samples["position"].to_numpy()
    match duplicates.keep:
        case "first":
            return arrival_order(arrival, position)
        case "best":
            columns = [_numbers(samples, column) for column in duplicates.best_by]
            pixels = np.nan_to_num(_numbers(samples, "width") * _numbers(samples, "height"))
            return best_order(columns, pixels.astype(np.int64), arrival, position)
        case "hard":
            return hard_order(distance, samples["image_id"].to_numpy())
        case "easy":
            return easy_order(distance, samples["image_id"].to_numpy())
        case "random":
            return random_order(samples["image_id"].to_pylist(), seed=duplicates.seed)


def _numbers(samples: pa.Table, column: str) -> np.ndarray:
    values: np.ndarray = samples[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _removed_table(samples: pa.Table, resolution: "Resolution", numbers: RowNumbers) -> pa.Table:
    removed = np.flatnonzero(resolution.removed)
    shards, positions = numbers.names(removed)
    ids = samples["image_id"].combine_chunks()
    return pa.table(
        {
            "shard": shards,
            "position": positions,
            "id": ids.take(pa.array(removed)),
            "kept_id": ids.take(pa.array(resolution.kept_by[removed])),
            "cosine": resolution.cosine[removed],
        }
    )


def _metadata(table: pa.Table, alive: np.ndarray, settings: Settings) -> dict[str, Any]:
    sizes = table["kept_id"].value_counts().field("counts").to_numpy(zero_copy_only=False) + 1
    duplicates = settings.duplicates
    return {
        "dagster/row_count": len(table),
        "n_images": len(alive),
        "n_taking_part": int(alive.sum()),
        "n_duplicates": len(table),
        "duplicate_fraction": len(table) / max(int(alive.sum()), 1),
        "n_groups": len(sizes),
        "largest_group": int(sizes.max(initial=0)),
        "eps": duplicates.eps,
        "keep": duplicates.keep,
        "rule": duplicates.rule,
        "filters": [rule.reason for rule in settings.filters],
    }


def _same_id(samples: pa.Table) -> str:
    counts = samples["image_id"].value_counts().to_pylist()
    twice = next(row["values"] for row in counts if row["counts"] > 1)
    return (
        f"two shards hold a sample with the image_id {twice!r} (a key with slashes reads like a "
        "folder); rename one of the tars"
    )
