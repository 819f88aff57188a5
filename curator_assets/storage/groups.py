"""The table of `duplicate_groups`, shard by shard."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curator_assets.storage import schemas


def removals_by_shard(groups: pa.Table) -> dict[str, pa.Table]:
    """Shard -> its rows as a table of `duplicate_ids`, in the order of the tar.

    Args:
        groups: a table of `duplicate_groups`; the rows of a shard lie together.
    """
    if not len(groups):
        return {}
    shards = groups["shard"].combine_chunks().cast(schemas.DUPLICATE_GROUPS.field("shard").type)
    codes = shards.indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts[1:], len(codes))
    rows = groups.select(schemas.DUPLICATE_IDS.names).cast(schemas.DUPLICATE_IDS)
    return {
        shards.dictionary[int(codes[start])].as_py(): rows.slice(start, end - start)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    }
