"""The table of `duplicate_groups`, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from curator_assets.storage import layout
from curator_assets.storage.ledger import hash_of
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import read_row_groups


def removals_by_shard(groups: pa.Table) -> dict[str, pa.Table]:
    """Shard -> its rows, in the order of the tar.

    Args:
        groups: a table of `duplicate_groups`; the rows of a shard lie together.
    """
    if not len(groups):
        return {}
    rows = groups.cast(schemas.DUPLICATE_GROUPS)
    shards = rows["shard"].combine_chunks()
    codes = shards.indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts[1:], len(codes))
    return {
        shards.dictionary[int(codes[start])].as_py(): rows.slice(start, end - start)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    }


def read_removals(store: Store) -> Iterator[tuple[str, pa.Table]]:
    """Each shard that has any removed images, in order of arrival, and its rows by position.

    At no time is more of the table held than a row group and the rows of a shard.
    """
    held = list[pa.Table]()
    shard = None
    for part in read_row_groups(store, layout.DUPLICATE_GROUPS):
        for name, rows in removals_by_shard(part).items():
            if name != shard and shard is not None:
                yield shard, pa.concat_tables(held)
                held = []
            shard = name
            held.append(rows)
    if shard is not None:
        yield shard, pa.concat_tables(held)


def removals_version(removed: pa.Table) -> str:
    """A hash of what is removed from a shard, of its table of `duplicate_ids`.

    Args:
        removed: its rows of `duplicate_groups`.
    """
    return hash_of(removed.select(schemas.DUPLICATE_IDS.names).to_pydict())
