"""Which image stands for which, from the tables that are stored: for the asset and for trials.

Legend: *N samples of all shards, in order of arrival*.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.defs.verdicts import passing_mask, read_samples_table
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.pair_tables import RowNumbers, pairs_of
from curator_assets.storage.scratch import DenseVectors
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table

if TYPE_CHECKING:
    from curator_assets.kernels.pairs import Pairs
    from curator_assets.kernels.resolution import Resolution


def needs_assignments(settings: Settings) -> bool:
    """Whether the cells of the images bear on the resolution."""
    return settings.duplicates.rule == "semdedup" or settings.duplicates.keep in {"hard", "easy"}


def read_samples(
    store: Store, shards: list[str], settings: Settings
) -> tuple[pa.Table, RowNumbers]:
    """All samples of some shards, given in order of arrival, with all that rules may name."""
    ranks, tables = read_arrivals(store), []
    for shard in shards:
        table = read_samples_table(store, shard, settings)
        tables.append(table.append_column("arrival", pa.array([ranks[shard]] * len(table))))
    numbers = RowNumbers({shard: len(t) for shard, t in zip(shards, tables, strict=True)})
    return pa.concat_tables(tables), numbers


def read_pairs(store: Store, groups: list[str], numbers: RowNumbers) -> "Pairs":
    """The stored pairs of some cell groups, by row number."""
    from curator_assets.kernels.pairs import Pairs

    return Pairs.concatenate(
        [
            pairs_of(
                read_table(store, layout.pairs(group)),
                read_table(store, layout.dense_members(group)),
                numbers,
            )
            for group in groups
        ]
    )


def resolve_samples(
    store: Store, samples: pa.Table, numbers: RowNumbers, pairs: "Pairs", settings: Settings
) -> "Resolution":
    """Verdict of the resolution on each of N samples; those that a filter drops take no part."""
    from curator_assets.kernels.device import resolve_device
    from curator_assets.kernels.resolution import resolve, resolve_semdedup

    alive = passing_mask(samples, settings.filters)
    vectors = DenseVectors(store, numbers, np.unique(pairs.dense.row))
    home, distance = np.full(numbers.n_rows, -1, np.int32), np.full(numbers.n_rows, np.inf)
    if needs_assignments(settings):
        for shard in numbers.shards:
            table = read_table(store, layout.assignments(shard))
            rows = numbers.rows_of(shard).start + table["position"].to_numpy()
            home[rows] = table["cell"].to_numpy()
            distance[rows] = 1 - table["centroid_cosine"].to_numpy()
    order = _order(samples, distance, settings)
    min_cosine = 1 - settings.duplicates.eps
    if settings.duplicates.rule == "semdedup":
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


def removed_table(samples: pa.Table, resolution: "Resolution", numbers: RowNumbers) -> pa.Table:
    """The table of `duplicate_groups`: the removed samples, by row number."""
    removed = np.flatnonzero(resolution.removed)
    kept = resolution.kept_by[removed]
    shards, positions = numbers.names(removed)
    kept_shards, kept_positions = numbers.names(kept)
    ids = samples["image_id"].combine_chunks()
    return pa.table(
        {
            "shard": shards,
            "position": positions,
            "id": ids.take(pa.array(removed)),
            "kept_id": ids.take(pa.array(kept)),
            "cosine": resolution.cosine[removed],
            "kept_shard": kept_shards,
            "kept_position": kept_positions,
        }
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
