"""The table of `duplicate_groups`, shard by shard."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curator_assets.storage.ledger import hash_of
from curator_assets.storage.tables import schemas


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


def removals_version(removed: pa.Table) -> str:
    """A hash of what is removed from a shard, of its table of `duplicate_ids`.

    Args:
        removed: its rows of `duplicate_groups`.
    """
    return hash_of(removed.select(schemas.DUPLICATE_IDS.names).to_pydict())
