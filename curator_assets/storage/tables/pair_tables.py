"""Near-duplicate pairs as tables, where a sample is named by shard and position.

In memory a sample is a row number: the shards lie one after another in order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.kernels.found_pairs import DenseMembers, Pairs
from curator_assets.kernels.join import EarlierSearch
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import read_row_groups, read_table

_PAIR_COLUMNS = ["shard_a", "position_a", "shard_b", "position_b", "cosine", "identical"]


class RowNumbers:
    """Row numbers of the samples of some shards.

    Args:
        n_samples: shard -> number of its samples, in order of arrival.
    """

    def __init__(self, n_samples: Mapping[str, int]) -> None:
        self.shards = list(n_samples)
        self._index = {shard: index for index, shard in enumerate(self.shards)}
        self.starts = np.concatenate([[0], np.cumsum(list(n_samples.values()))]).astype(np.int64)

    @property
    def n_rows(self) -> int:
        """How many samples there are."""
        return int(self.starts[-1])

    def rows_of(self, shard: str) -> slice:
        """The rows of a shard."""
        index = self._index[shard]
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def by_shard(self, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Each shard that has any of some rows, int64, ascending, and those of them that it has."""
        cuts = np.searchsorted(rows, self.starts)
        for shard, first, last in zip(self.shards, cuts, cuts[1:], strict=False):
            if first < last:
                yield shard, rows[first:last]

    def names(self, rows: np.ndarray) -> tuple[pa.DictionaryArray, np.ndarray]:
        """Shard and int32 position of each row; whatever shards there are besides."""
        shard = np.searchsorted(self.starts, rows, side="right") - 1
        named, index = np.unique(shard, return_inverse=True)
        dictionary = pa.array([self.shards[i] for i in named.tolist()], pa.string())
        names = pa.DictionaryArray.from_arrays(index.astype(np.int32), dictionary)
        return names, (rows - self.starts[shard]).astype(np.int32)

    def rows(self, shards: pa.ChunkedArray, positions: pa.ChunkedArray) -> np.ndarray:
        """The inverse: int64 rows; shards that are not known give -1.

        Args:
            shards: dictionaries of names.
            positions: integers.
        """
        parts = [np.zeros(0, np.int64)]
        for chunk in shards.chunks:
            names = chunk.dictionary.to_pylist()
            starts = [
                self.starts[self._index[name]] if name in self._index else -1 for name in names
            ]
            parts.append(np.array(starts, np.int64)[chunk.indices.to_numpy()])
        start = np.concatenate(parts)
        return np.where(start < 0, -1, start + positions.to_numpy())


def pair_table(pairs: Pairs, cell: np.ndarray, numbers: RowNumbers) -> pa.Table:
    """The table of `near_duplicate_pairs`; `cell` is int32 [P]."""
    shard_a, position_a = numbers.names(pairs.a)
    shard_b, position_b = numbers.names(pairs.b)
    return pa.table(
        {
            "shard_a": shard_a,
            "position_a": position_a,
            "shard_b": shard_b,
            "position_b": position_b,
            "cosine": pairs.cosine,
            "cell": cell,
            "identical": pairs.identical,
        },
        schema=schemas.PAIRS,
    )


def dense_table(dense: DenseMembers, numbers: RowNumbers) -> pa.Table:
    """The table of the images whose pairs are not listed."""
    shard, position = numbers.names(dense.row)
    columns = {"shard": shard, "position": position, "cell": dense.cell, "resident": dense.resident}
    return pa.table(columns, schema=schemas.DENSE_MEMBERS)


def searched_table(rows: np.ndarray, key: np.ndarray, numbers: RowNumbers) -> pa.Table:
    """The table of the images that were compared: rows int64 [S], and uint64 [S, 2] keys."""
    shard, position = numbers.names(rows)
    keys = pa.FixedSizeListArray.from_arrays(pa.array(key.reshape(-1)), 2)
    return pa.table({"shard": shard, "position": position, "key": keys}, schema=schemas.SEARCHED)


def earlier_of(pairs: pa.Table, dense: pa.Table, searched: pa.Table) -> EarlierSearch:
    """What an earlier search found, whatever shards there were then."""
    shards = searched["shard"].unify_dictionaries().combine_chunks()
    numbers = _Places(shards, searched["position"].to_numpy())
    listed = pairs.filter(pc.invert(pairs["identical"]))
    key = searched["key"].combine_chunks().flatten().to_numpy().reshape(-1, 2)
    return EarlierSearch(
        key=key,
        first=numbers.of(listed["shard_a"], listed["position_a"]),
        second=numbers.of(listed["shard_b"], listed["position_b"]),
        cosine=listed["cosine"].to_numpy(),
        cell=listed["cell"].to_numpy(),
        pooled=numbers.of(dense["shard"], dense["position"]),
        pool=dense["cell"].to_numpy(),
    )


class _Places:
    """Which row of a table of (shard, position), ascending by it or not, has each."""

    def __init__(self, shards: pa.DictionaryArray, positions: np.ndarray) -> None:
        self._shards = shards.dictionary
        codes = _codes(shards.indices.to_numpy(), positions)
        self._order = np.argsort(codes, kind="stable")
        self._codes = codes[self._order]

    def of(self, shards: pa.ChunkedArray, positions: pa.ChunkedArray) -> np.ndarray:
        """int64 [n].

        Raises:
            ValueError: one is not in the table.
        """
        index = np.zeros(0, np.int64)
        if len(shards):
            names = shards.unify_dictionaries().combine_chunks()
            known = pc.fill_null(pc.index_in(names.dictionary, self._shards), -1).to_numpy()
            index = known[names.indices.to_numpy()]
        codes = _codes(index, positions.to_numpy())
        at = np.searchsorted(self._codes, codes)
        at[at == len(self._codes)] = 0
        if len(codes) and (not len(self._codes) or (self._codes[at] != codes).any()):
            raise ValueError("pairs of images that were not searched")
        return self._order[at]


def _codes(shard: np.ndarray, position: np.ndarray) -> np.ndarray:
    codes: np.ndarray = shard.astype(np.int64) << 32 | position.astype(np.int64)
    return codes


def pairs_of(pairs: pa.Table, dense: pa.Table, numbers: RowNumbers) -> Pairs:
    """The inverse of both; rows with a shard that is not known are left out."""
    a = numbers.rows(pairs["shard_a"], pairs["position_a"])
    b = numbers.rows(pairs["shard_b"], pairs["position_b"])
    listed = (a >= 0) & (b >= 0)
    return Pairs(
        a[listed],
        b[listed],
        pairs["cosine"].to_numpy()[listed],
        _bools(pairs["identical"])[listed],
        dense_members_of(dense, numbers),
    )


def dense_members_of(dense: pa.Table, numbers: RowNumbers) -> DenseMembers:
    """The inverse of `dense_table`; rows with a shard that is not known are left out."""
    member = numbers.rows(dense["shard"], dense["position"])
    pooled = member >= 0
    return DenseMembers(
        member[pooled], dense["cell"].to_numpy()[pooled], _bools(dense["resident"])[pooled]
    )


def read_pairs(store: Store, cell_groups: Iterable[str], numbers: RowNumbers) -> Pairs:
    """Every stored pair of some cell groups, by row number."""
    return Pairs.concatenate(
        [
            pairs_of(
                read_table(store, layout.pairs(group)),
                read_table(store, layout.dense_members(group)),
                numbers,
            )
            for group in cell_groups
        ]
    )


@dataclass(frozen=True)
class PairRows:
    """Some stored pairs, by row number.

    Attributes:
        a: int64 [n].
        b: int64 [n], above `a`.
        cosine: float32 [n].
        identical: bool [n].
    """

    a: np.ndarray
    b: np.ndarray
    cosine: np.ndarray
    identical: np.ndarray


def read_pair_rows(
    store: Store, cell_groups: Iterable[str], numbers: RowNumbers
) -> Iterator[PairRows]:
    """Every stored pair of some cell groups, a row group at a time; known shards only."""
    for group in cell_groups:
        for part in read_row_groups(store, layout.pairs(group), _PAIR_COLUMNS):
            a = numbers.rows(part["shard_a"], part["position_a"])
            b = numbers.rows(part["shard_b"], part["position_b"])
            known = (a >= 0) & (b >= 0)
            cosine, identical = part["cosine"].to_numpy(), _bools(part["identical"])
            yield PairRows(a[known], b[known], cosine[known], identical[known])


def read_dense_members(
    store: Store, cell_groups: Iterable[str], numbers: RowNumbers
) -> DenseMembers:
    """The images of some cell groups whose pairs are not listed; of known shards only."""
    tables = (read_table(store, layout.dense_members(group)) for group in cell_groups)
    return DenseMembers.concatenate([dense_members_of(table, numbers) for table in tables])


def _bools(column: pa.ChunkedArray) -> np.ndarray:
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values
