"""The samples of all shards and their near-duplicate pairs, as the resolution takes them.

Legend: *N samples of all shards, in order of arrival; a row is the number of one*.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.defs.filter.sample_rules import read_sample_columns
from curator_assets.engine.work import Work
from curator_assets.errors import UserError
from curator_assets.kernels.copies import CopyFinder
from curator_assets.kernels.nodes import row_type
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.scratch import Scratch
from curator_assets.storage.store import Store
from curator_assets.storage.tables.dense_vectors import DenseVectors
from curator_assets.storage.tables.hash_columns import hash_numbers
from curator_assets.storage.tables.id_file import IdFile
from curator_assets.storage.tables.pair_tables import (
    PairRows,
    RowNumbers,
    read_dense_members,
    read_pair_rows,
)
from curator_assets.storage.tables.parquet import count_rows, read_table

if TYPE_CHECKING:
    from curator_assets.kernels.copies import Copies
    from curator_assets.kernels.found_pairs import DenseMembers

_ASKED_ONCE = ["content_hash", "image_id"]
_BYTES_OF_SAMPLE, _BYTES_OF_KEY, _BYTES_OF_PAIR = 48, 64, 96
"""On the scratch disk at most, but for long ids: a hash, its row and an id, compressed; a distance,
an id and a row; an edge by either end, a verdict, and a verdict with an id."""


class SharedIdError(UserError):
    """An image id occurs twice."""


class StoredPairs:
    """What several resolvers may share: no settings but those of the search bear on it.

    Tables are read shard by shard and by row groups; held are the rows that have a copy, and what
    a rule asks for of all of them.

    Args:
        store: where the tables lie.
        shards: those that were embedded, in order of arrival, with their numbers of samples.
        cell_groups: whose pairs are read.

    Attributes:
        numbers: of the samples' rows.
        row_type: holds a row.
        scratch: where what does not fit into memory lies.
    """

    def __init__(self, store: Store, shards: Mapping[str, int], cell_groups: list[str]) -> None:
        self.store, self._cell_groups = store, cell_groups
        self.numbers = RowNumbers(shards)
        self.row_type = row_type(self.numbers.n_rows)
        self.scratch = Scratch(store)
        self._same_bytes: Copies | None = None
        self._ids: IdFile | None = None

    def samples(
        self, settings: Settings, columns: Sequence[str]
    ) -> Iterator[tuple[str, int, pa.Table]]:
        """Each shard that has samples, the row of its first, and some columns of all of them.

        The first time that all are read, images with the same bytes are found on the way, and the
        ids are put aside.

        Raises:
            SharedIdError: an image id occurs twice.
            ValueError: a shard has another number of samples than was recorded.
        """
        finder = None
        if self._same_bytes is None:
            finder, ids = CopyFinder(self.row_type, self.scratch.open), IdFile(self.scratch)
            columns = [*columns, *(name for name in _ASKED_ONCE if name not in columns)]
        for shard in self.numbers.shards:
            rows = self.numbers.rows_of(shard)
            table = read_sample_columns(self.store, shard, settings, columns)
            if len(table) != rows.stop - rows.start:
                raise ValueError(
                    f"shard {shard!r}: {rows.stop - rows.start} samples were recorded, but its "
                    f"embeddings are of {len(table)}; embed it again"
                )
            if finder is not None:
                _require_own_ids(shard, table["image_id"])
                ids.append(shard, table["image_id"])
                there, hashes = hash_numbers(table["content_hash"])
                finder.append(rows.start + there, hashes)
            if len(table):
                yield shard, rows.start, table
        if finder is not None:
            self._same_bytes, self._ids = finder.copies(), ids

    def ids(self, shard: str) -> pa.ChunkedArray:
        """The ids of a shard's samples, once all samples were read."""
        assert self._ids is not None  # there are verdicts, so all samples were read
        return self._ids.of(shard)

    def same_bytes(self, settings: Settings) -> "Copies":
        """The images whose bytes an image before them has."""
        if self._same_bytes is None:
            for _ in self.samples(settings, []):
                pass
        assert self._same_bytes is not None  # all samples were read
        return self._same_bytes

    def require_room(self, settings: Settings) -> None:
        """Return if the scratch has room for a resolution.

        Raises:
            OutputError: it has not.
        """
        n_pairs = sum(count_rows(self.store, layout.pairs(group)) for group in self._cell_groups)
        bytes_of_key = 0 if settings.duplicates.keep == "first" else _BYTES_OF_KEY
        bytes_of_samples = self.numbers.n_rows * (_BYTES_OF_SAMPLE + bytes_of_key)
        self.scratch.require(bytes_of_samples + n_pairs * _BYTES_OF_PAIR)

    def pairs(self) -> Iterator[PairRows]:
        """Every stored pair, part by part."""
        return read_pair_rows(self.store, self._cell_groups, self.numbers)

    @cached_property
    def same_vectors(self) -> "Copies":
        """The images whose vectors and cells an image before them has."""
        first, other = [np.zeros(0, self.row_type)], [np.zeros(0, self.row_type)]
        for pairs in self.pairs():
            first.append(pairs.a[pairs.identical].astype(self.row_type))
            other.append(pairs.b[pairs.identical].astype(self.row_type))
        return np.concatenate(first), np.concatenate(other)

    @cached_property
    def dense(self) -> "DenseMembers":
        """The images whose pairs are not listed."""
        return read_dense_members(self.store, self._cell_groups, self.numbers)

    @cached_property
    def vectors(self) -> DenseVectors:
        """The embeddings of the images whose pairs are not listed."""
        return DenseVectors(self.store, self.numbers, np.unique(self.dense.row))

    @cached_property
    def homes(self) -> np.ndarray:
        """int32 [N], home cell, -1 for none."""
        home = np.full(self.numbers.n_rows, -1, np.int32)
        for shard in self.numbers.shards:
            table = read_table(self.store, layout.assignments(shard), ["position", "cell"])
            home[self.numbers.rows_of(shard).start + table["position"].to_numpy()] = table["cell"]
        return home

    def distances(self, shard: str) -> np.ndarray:
        """float64 [n samples of the shard], to the centroid of the home cell, inf without one."""
        rows = self.numbers.rows_of(shard)
        distance = np.full(rows.stop - rows.start, np.inf)
        columns = ["position", "centroid_cosine"]
        table = read_table(self.store, layout.assignments(shard), columns)
        distance[table["position"].to_numpy()] = 1 - table["centroid_cosine"].to_numpy()
        return distance


def stored_pairs(work: Work) -> StoredPairs:
    """Of all shards that were embedded and share no id."""
    embedded = shards_of_one_id_each(work)
    n_samples = {shard: entry.state["n_samples"] for shard, entry in embedded.items()}
    return StoredPairs(work.store, n_samples, work.cell_groups)


def _require_own_ids(shard: str, ids: pa.ChunkedArray) -> None:
    """Refuse an id that occurs twice.

    An id begins with the name of its shard. So two shards can share one only if the name of one is
    a folder of the other's, and those were left out (`shards_of_one_id_each`).

    Raises:
        SharedIdError: names an id.
        ValueError: an id does not begin so.
    """
    if not pc.all(pc.starts_with(ids, f"{shard}/")).as_py() and len(ids):
        raise ValueError(f"shard {shard!r} holds an image_id that is not '{shard}/<key>'")
    if len(ids.unique()) < len(ids):
        twice = next(row["values"] for row in ids.value_counts().to_pylist() if row["counts"] > 1)
        raise SharedIdError(
            f"shard {shard!r} holds two samples with the image_id {twice!r}; embed it again"
        )
