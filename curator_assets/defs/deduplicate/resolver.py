"""Which image stands for which, from the tables that are stored: for the asset and for trials.

Legend: *N samples of all shards, in order of arrival*.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.defs.filter.sample_rules import passing_mask, read_samples_table
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.dense_vectors import DenseVectors
from curator_assets.storage.tables.groups import removals_by_shard
from curator_assets.storage.tables.pair_tables import RowNumbers, read_pairs
from curator_assets.storage.tables.parquet import read_table

if TYPE_CHECKING:
    from curator_assets.kernels.found_pairs import Pairs
    from curator_assets.kernels.resolution import Resolution


def needs_assignments(settings: Settings) -> bool:
    """Whether the cells of the images bear on the resolution."""
    return settings.duplicates.rule == "semdedup" or settings.duplicates.keep in {"hard", "easy"}


class StoredPairs:
    """All samples and their near-duplicate pairs, each read once, when it is first asked for.

    Args:
        store: where the tables lie.
        shards: those that were embedded, in order of arrival.
        cell_groups: whose pairs are read.
        settings: whose heads give the samples their scores.

    Attributes:
        samples: every sample with all that rules may name.
        numbers: of its rows.
    """

    def __init__(
        self, store: Store, shards: list[str], cell_groups: list[str], settings: Settings
    ) -> None:
        self._store, self._cell_groups = store, cell_groups
        ranks, tables = read_arrivals(store), []
        for shard in shards:
            table = read_samples_table(store, shard, settings)
            tables.append(
                table.append_column("arrival", pa.array([ranks[shard]] * len(table), pa.int64()))
            )
        self.samples = pa.concat_tables(tables)
        n_samples = {shard: len(table) for shard, table in zip(shards, tables, strict=True)}
        self.numbers = RowNumbers(n_samples)

    @cached_property
    def pairs(self) -> "Pairs":
        """Every stored pair, by row number."""
        return read_pairs(self._store, self._cell_groups, self.numbers)

    @cached_property
    def vectors(self) -> DenseVectors:
        """The embeddings of the images whose pairs are not listed."""
        return DenseVectors(self._store, self.numbers, np.unique(self.pairs.dense.row))

    @cached_property
    def content(self) -> np.ndarray:
        """int32 [N], equal where the images' bytes are; -1 without an image."""
        hashes = _joined(self.samples["content_hash"]).dictionary_encode()
        content: np.ndarray = hashes.indices.fill_null(-1).to_numpy()
        return content

    @cached_property
    def homes(self) -> tuple[np.ndarray, np.ndarray]:
        """int32 [N] home cell, -1 for none; float64 [N] distance to its centroid."""
        n_rows = self.numbers.n_rows
        home, distance = np.full(n_rows, -1, np.int32), np.full(n_rows, np.inf)
        for shard in self.numbers.shards:
            table = read_table(self._store, layout.assignments(shard))
            rows = self.numbers.rows_of(shard).start + table["position"].to_numpy()
            home[rows] = table["cell"].to_numpy()
            distance[rows] = 1 - table["centroid_cosine"].to_numpy()
        return home, distance


def _joined(texts: pa.ChunkedArray) -> pa.LargeStringArray:
    """As one array: a plain `string` array holds 2 GiB, the hashes of 67 million images."""
    return texts.cast(pa.large_string()).combine_chunks()


class Resolver:
    """The resolution by some settings, at any eps.

    Args:
        stored: what is resolved; several resolvers may share it.
        settings: rule, order and filters.

    Attributes:
        alive: bool [N], which samples take part: those that are readable and pass the filters.
    """

    def __init__(self, stored: StoredPairs, settings: Settings) -> None:
        self._stored, self._settings = stored, settings
        self.alive = passing_mask(stored.samples, settings.filters)

    def at(self, eps: float) -> "Resolution":
        """The verdicts at cosine >= 1 - `eps`, which must not be above the stored `max_eps`."""
        from curator_assets.kernels.resolution import resolve, resolve_semdedup

        stored, device = self._stored, self._device()
        if self._settings.duplicates.rule == "semdedup":
            return resolve_semdedup(
                stored.pairs,
                home=stored.homes[0],
                alive=self.alive,
                order=self._order,
                min_cosine=1 - eps,
                vectors=stored.vectors,
                device=device,
            )
        return resolve(
            stored.pairs,
            content=stored.content,
            alive=self.alive,
            order=self._order,
            min_cosine=1 - eps,
            vectors=stored.vectors,
            device=device,
        )

    def n_removed_at(self, grid: Sequence[float]) -> dict[float, int]:
        """How many images each eps of a grid removes."""
        return {eps: int(self.at(eps).removed.sum()) for eps in grid}

    def removals(self, eps: float) -> Iterator[pa.Table]:
        """Who is removed, a table of `duplicate_groups` a shard, in order of arrival."""
        yield from removals_by_shard(self.removed_table(self.at(eps))).values()

    def _device(self) -> str:
        """Where pairs that are not listed are computed; torch is asked only if there are any."""
        if not len(self._stored.pairs.dense.row):
            return "cpu"
        from curator_assets.kernels.device import resolve_device

        return resolve_device(self._settings.model.device)

    def removed_table(self, resolution: "Resolution") -> pa.Table:
        """The table of `duplicate_groups`: the removed samples, by row number."""
        numbers = self._stored.numbers
        removed = np.flatnonzero(resolution.removed)
        kept = resolution.kept_by[removed]
        shards, positions = numbers.names(removed)
        kept_shards, kept_positions = numbers.names(kept)
        ids = _joined(self._stored.samples["image_id"])
        return pa.table(
            {
                "shard": shards,
                "position": positions,
                "id": ids.take(pa.array(removed)).cast(pa.string()),
                "kept_id": ids.take(pa.array(kept)).cast(pa.string()),
                "cosine": resolution.cosine[removed],
                "kept_shard": kept_shards,
                "kept_position": kept_positions,
            },
            schema=schemas.DUPLICATE_GROUPS,
        )

    @cached_property
    def _order(self) -> np.ndarray:
        """int64 [N]: the rows, the first to claim its place first."""
        from curator_assets.kernels.duplicates import (
            arrival_order,
            best_order,
            easy_order,
            hard_order,
            random_order,
        )

        samples, duplicates = self._stored.samples, self._settings.duplicates
        arrival, position = samples["arrival"].to_numpy(), samples["position"].to_numpy()
        match duplicates.keep:
            case "first":
                return arrival_order(arrival, position)
            case "best":
                columns = [_numbers(samples, column) for column in duplicates.best_by]
                pixels = np.nan_to_num(_numbers(samples, "width") * _numbers(samples, "height"))
                return best_order(columns, pixels.astype(np.int64), arrival, position)
            case "hard":
                return hard_order(self._stored.homes[1], samples["image_id"].to_numpy())
            case "easy":
                return easy_order(self._stored.homes[1], samples["image_id"].to_numpy())
            case "random":
                return random_order(samples["image_id"].to_pylist(), seed=duplicates.seed)


def _numbers(samples: pa.Table, column: str) -> np.ndarray:
    values: np.ndarray = samples[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values
