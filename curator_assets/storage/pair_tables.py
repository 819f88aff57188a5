"""Near-duplicate pairs as tables, where a sample is named by shard and position.

In memory a sample is a row number: the shards lie one after another in order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.storage import schemas

if TYPE_CHECKING:
    from curator_assets.kernels.pairs import Pairs


class RowNumbers:
    """Row numbers of the samples of some shards.

    Args:
        n_samples: shard -> number of its samples, in order of arrival.
    """

    def __init__(self, n_samples: Mapping[str, int]) -> None:
        self.shards = list(n_samples)
        self.starts = np.concatenate([[0], np.cumsum(list(n_samples.values()))]).astype(np.int64)

    @property
    def n_rows(self) -> int:
        """How many samples there are."""
        return int(self.starts[-1])

    def rows_of(self, shard: str) -> slice:
        """The rows of a shard."""
        index = self.shards.index(shard)
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def names(self, rows: np.ndarray) -> tuple[pa.DictionaryArray, np.ndarray]:
        """Shard and int32 position of each row."""
        shard = np.searchsorted(self.starts, rows, side="right") - 1
        names = pa.DictionaryArray.from_arrays(shard.astype(np.int32), pa.array(self.shards))
        return names, (rows - self.starts[shard]).astype(np.int32)

    def rows(self, shards: pa.ChunkedArray, positions: pa.ChunkedArray) -> np.ndarray:
        """The inverse: int64 rows; shards that are not known give -1."""
        known = pa.array(self.shards, pa.string())
        index = pc.fill_null(pc.index_in(shards.cast(pa.string()), known), -1).to_numpy()
        rows: np.ndarray = self.starts[np.maximum(index, 0)] + positions.to_numpy()
        return np.where(index < 0, -1, rows)


def pair_table(pairs: Pairs, same_cell: np.ndarray, numbers: RowNumbers) -> pa.Table:
    """The table of `near_duplicate_pairs`; `same_cell` is bool [P]."""
    shard_a, position_a = numbers.names(pairs.a)
    shard_b, position_b = numbers.names(pairs.b)
    return pa.table(
        {
            "shard_a": shard_a,
            "position_a": position_a,
            "shard_b": shard_b,
            "position_b": position_b,
            "cosine": pairs.cosine,
            "same_cell": same_cell,
            "identical": pairs.identical,
        },
        schema=schemas.PAIRS,
    )


def pairs_of(table: pa.Table, numbers: RowNumbers) -> Pairs:
    """The inverse; pairs with a shard that is not known are left out."""
    from curator_assets.kernels.pairs import Pairs

    a = numbers.rows(table["shard_a"], table["position_a"])
    b = numbers.rows(table["shard_b"], table["position_b"])
    known = (a >= 0) & (b >= 0)
    cosine = table["cosine"].to_numpy()
    identical = table["identical"].to_numpy(zero_copy_only=False)
    return Pairs(a[known], b[known], cosine[known], identical[known])
