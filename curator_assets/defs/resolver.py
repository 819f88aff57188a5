"""The resolution of the stored pairs at any eps up to `max_eps`.

Legend: *N samples, in order of arrival*.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.verdicts import filter_reasons, read_samples_table, readable_mask
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.pair_tables import RowNumbers, pairs_of
from curator_assets.storage.scratch import DenseVectors
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table

if TYPE_CHECKING:
    from curator_assets.kernels.pairs import Pairs
    from curator_assets.kernels.resolution import Resolution


def needs_assignments(settings: Settings) -> bool:
    """Whether the rule or the order looks at cells."""
    return settings.duplicates.rule == "semdedup" or settings.duplicates.keep in {"hard", "easy"}


class Resolver:
    """What a resolution needs, read once.

    Args:
        store: where the tables lie.
        shards: those that were embedded, in order of arrival.
        cell_groups: whose pairs are read.
        settings: rule, order and filters.

    Attributes:
        samples: every sample with its numeric columns; `out` says why one takes no part.
        alive: bool [N], which samples take part.
    """

    def __init__(
        self, store: Store, shards: list[str], cell_groups: list[str], settings: Settings
    ) -> None:
        self._store, self._cell_groups, self._settings = store, cell_groups, settings
        self.samples, self._numbers = _read_samples(store, shards, settings)
        self.alive: np.ndarray = pc.is_null(self.samples["out"]).to_numpy(zero_copy_only=False)

    def at(self, eps: float) -> "Resolution":
        """The verdicts at cosine >= 1 - `eps`, which must not be above `max_eps`."""
        from curator_assets.kernels.device import resolve_device
        from curator_assets.kernels.resolution import resolve, resolve_semdedup

        device = resolve_device(self._settings.model.device)
        if self._settings.duplicates.rule == "semdedup":
            return resolve_semdedup(
                self.pairs,
                home=self._homes[0],
                alive=self.alive,
                order=self._order,
                min_cosine=1 - eps,
                vectors=self._vectors,
                device=device,
            )
        return resolve(
            self.pairs,
            content=self._content,
            alive=self.alive,
            order=self._order,
            min_cosine=1 - eps,
            vectors=self._vectors,
            device=device,
        )

    def removed_table(self, resolution: "Resolution") -> pa.Table:
        """The table of `duplicate_groups`."""
        removed = np.flatnonzero(resolution.removed)
        shards, positions = self._numbers.names(removed)
        kept_shards, kept_positions = self._numbers.names(resolution.kept_by[removed])
        ids = self.samples["image_id"].combine_chunks()
        return pa.table(
            {
                "shard": shards,
                "position": positions,
                "id": ids.take(pa.array(removed)),
                "kept_id": ids.take(pa.array(resolution.kept_by[removed])),
                "cosine": resolution.cosine[removed],
                "kept_shard": kept_shards,
                "kept_position": kept_positions,
            },
            schema=schemas.DUPLICATE_GROUPS,
        )

    @cached_property
    def pairs(self) -> "Pairs":
        """Every stored pair."""
        from curator_assets.kernels.pairs import Pairs

        return Pairs.concatenate(
            [
                pairs_of(
                    read_table(self._store, layout.pairs(group)),
                    read_table(self._store, layout.dense_members(group)),
                    self._numbers,
                )
                for group in self._cell_groups
            ]
        )

    @cached_property
    def _vectors(self) -> DenseVectors:
        return DenseVectors(self._store, self._numbers, np.unique(self.pairs.dense.row))

    @cached_property
    def _content(self) -> np.ndarray:
        """int32 [N], equal where the images' bytes are; -1 without an image."""
        hashes = self.samples["content_hash"].combine_chunks().dictionary_encode()
        content: np.ndarray = hashes.indices.fill_null(-1).to_numpy()
        return content

    @cached_property
    def _homes(self) -> tuple[np.ndarray, np.ndarray]:
        """int32 [N] home cell, -1 for none; float64 [N] distance to its centroid."""
        n_rows = self._numbers.n_rows
        home, distance = np.full(n_rows, -1, np.int32), np.full(n_rows, np.inf)
        if needs_assignments(self._settings):
            for shard in self._numbers.shards:
                table = read_table(self._store, layout.assignments(shard))
                rows = self._numbers.rows_of(shard).start + table["position"].to_numpy()
                home[rows] = table["cell"].to_numpy()
                distance[rows] = 1 - table["centroid_cosine"].to_numpy()
        return home, distance

    @cached_property
    def _order(self) -> np.ndarray:
        return _order(self.samples, self._homes[1], self._settings)


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
