"""The search for pairs, a cell group at a time.

*Sample*: row number among all samples of the shards; *image*: one of them with an embedding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curator_assets.defs.deduplicate.cluster_assignments import cell_group_of
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry
from curator_assets.storage.store import Store
from curator_assets.storage.tables.assignments import read_centroids, read_prefix_directions
from curator_assets.storage.tables.cell_groups import (
    BYTES_OF_ROW,
    BYTES_OF_VISIT,
    IN_MEMORY,
    GroupFiles,
)
from curator_assets.storage.tables.pair_tables import (
    RowNumbers,
    dense_table,
    pair_table,
    searched_table,
)

if TYPE_CHECKING:
    from curator_assets.kernels.join import EarlierSearch
    from curator_assets.kernels.pairs import Found

_VECTORS_SHARE = 0.25
"""Of a search's memory, for whole vectors."""

_ON_CPU: dict[str, Any] = {"product_dtype": "float32", "tile_rows": 256, "tile_columns": 8192}
_ON_GPU: dict[str, Any] = {"product_dtype": "float16", "tile_rows": 4096, "tile_columns": 16_384}
"""Of the products that propose pairs; they change no result."""


@dataclass(frozen=True)
class GroupTables:
    """What was found in a cell group.

    Attributes:
        pairs: table of `near_duplicate_pairs`.
        dense: beside it, the members whose pairs are not listed.
        searched: beside it, the images that were compared.
        told: counts, for metadata.
        new: int64, samples that were compared with others, and never before.
    """

    pairs: pa.Table
    dense: pa.Table
    searched: pa.Table
    told: dict[str, Any]
    new: np.ndarray


@dataclass(frozen=True)
class PairSearch:
    """A search over all images of some shards.

    Attributes:
        store: where tables lie.
        settings: in force.
        assigned: the shards, in order of arrival, with the entries of their assignments.
    """

    store: Store
    settings: Settings
    assigned: Mapping[str, Entry]

    @cached_property
    def device(self) -> str:
        """Torch device of the products."""
        from curator_assets.kernels.device import resolve_device

        return resolve_device(self.settings.device_here)

    @cached_property
    def numbers(self) -> RowNumbers:
        """Names of samples."""
        return RowNumbers({shard: e.state["n_samples"] for shard, e in self.assigned.items()})

    @cached_property
    def n_images(self) -> int:
        """How many images are searched."""
        return sum(entry.state["n_images"] for entry in self.assigned.values())

    @cached_property
    def _members(self) -> dict[int, list[tuple[str, str]]]:
        return members_by_group(self.assigned)

    @cached_property
    def _centroids(self) -> tuple[int, int]:
        """How many cells there are, and the width of embeddings."""
        n_cells, width = read_centroids(self.store).shape
        return n_cells, width

    @cached_property
    def group_of_cell(self) -> np.ndarray:
        """int64 [K]: the cell group of each cell."""
        return cell_group_of(self._centroids[0], self.settings.clusters.n_cell_groups)

    @cached_property
    def _prefix(self) -> tuple[int, float]:
        """Numbers of a prefix, 0 without prefixes, and their slack."""
        from curator_assets.kernels.prefix import PrefixBasis

        directions = read_prefix_directions(self.store)
        if directions is None:
            return 0, 0.0
        return directions.shape[1] + 1, PrefixBasis(directions).slack

    def tables(self, group: str, earlier: EarlierSearch | None) -> GroupTables:
        """The pairs that fall to a cell group.

        Args:
            group: its name.
            earlier: what an earlier search of the same cells found, if there was one.
        """
        from curator_assets.kernels.pairs import Found, find_pairs

        settings, numbers, number = self.settings, self.numbers, int(group)
        device, memory = self.device, self._memory
        files = GroupFiles(
            self.store,
            dict(self._members.get(number, [])),
            number,
            cells=np.flatnonzero(self.group_of_cell == number).astype(np.int32),
            numbers=numbers,
            width=self._centroids[1],
            prefix_slack=self._prefix[1],
        )
        parts, budget = list[Found](), memory * (1 - _VECTORS_SHARE)
        for cells in files.runs(budget, self._expected_bytes(number)):
            parts.append(
                find_pairs(
                    files.of(cells),
                    min_cosine=1 - settings.duplicates.max_eps,
                    device=device,
                    earlier=earlier,
                    block_bytes=int(memory * _VECTORS_SHARE),
                    **(_ON_CPU if device == "cpu" else _ON_GPU),
                )
            )
        found = Found.concatenate(parts)
        return GroupTables(
            pair_table(found.pairs, found.cell, numbers),
            dense_table(found.pairs.dense, numbers),
            searched_table(found.searched, found.key, numbers),
            self._told(found) | {"n_passes": len(parts)},
            found.new,
        )

    @property
    def _memory(self) -> float:
        gib: float = self.settings.duplicates.search_memory_gib
        return gib * 2**30

    def _expected_bytes(self, group: int) -> float:
        """Of a group's images in memory, but for their vectors."""
        states = [entry.state for entry in self.assigned.values()]
        n_members: int = sum(state["n_members"].get(str(group), 0) for state in states)
        n_visits: float = sum(state["n_visits"] for state in states) / max(self.n_images, 1)
        return (
            IN_MEMORY * n_members * (BYTES_OF_ROW + 4 * self._prefix[0] + BYTES_OF_VISIT * n_visits)
        )

    def _told(self, found: Found) -> dict[str, Any]:
        counts, n = found.counts, float(self.n_images)
        return counts._asdict() | {
            "n_new": len(found.new),
            "share_of_brute_force": min(1.0, counts.n_comparable / max(n * (n - 1) / 2, 1.0)),
        }


def members_by_group(assigned: Mapping[str, Entry]) -> dict[int, list[tuple[str, str]]]:
    """What each shard brings to each cell group: shard and digest, in order of arrival."""
    members = defaultdict[int, list[tuple[str, str]]](list)
    for shard, entry in assigned.items():
        for group, digest in entry.state["groups"].items():
            if digest:
                members[int(group)].append((shard, digest))
    return dict(members)
