"""The largest groups, and the members that are shown of a group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import polars as pl

from curator_assets.report.numbers.duplicate_spread import GroupSizes
from curator_assets.report.numbers.shard_frames import copied

N_LARGEST = 6
_LEAST = 3  # a group of two is a pair, and shown as one
N_MEMBERS = 30  # of which those are shown that are shown nowhere else


def largest_groups(frames: Iterable[pl.DataFrame], sizes: GroupSizes) -> list[tuple[str, int]]:
    """Kept id and size of the `N_LARGEST` largest groups, the largest first, ties by id.

    Groups of two are pairs, and left out.

    Args:
        frames: of `removal_frames`.
        sizes: of all of them.
    """
    least = max(_least_of_largest(sizes), _LEAST)
    largest = pl.DataFrame(schema={"kept_id": pl.String, "size": pl.Int64})
    for frame in frames:
        sized = frame.select("kept_id", size=sizes.of(frame["kept_row"]))
        both = pl.concat([largest, sized.filter(pl.col("size") >= least)]).unique()
        both = both.sort("size", "kept_id", descending=[True, False])
        largest = copied(both.head(N_LARGEST))
    return list(largest.iter_rows())


def _least_of_largest(sizes: GroupSizes) -> int:
    """The size of the smallest of the `N_LARGEST` largest groups; 0 if there are fewer."""
    n_larger = 0
    for size, n_groups in sizes.table.reverse().iter_rows():
        n_larger += n_groups
        if n_larger >= N_LARGEST:
            return int(size)
    return 0


def group_members(
    frames: Iterable[pl.DataFrame], kept_ids: Collection[str]
) -> Mapping[str, list[dict[str, Any]]]:
    """Kept id -> `N_MEMBERS` of those that it stands for, those of lowest cosine first.

    Args:
        frames: of `removal_frames`.
        kept_ids: of the groups that are looked for.
    """
    wanted, found = pl.Series("kept_id", sorted(kept_ids), pl.String), list[pl.DataFrame]()
    for frame in frames:
        mine = frame.filter(pl.col("kept_id").is_in(wanted.implode()))
        if len(mine):
            found = [copied(_lowest(pl.concat([*found, mine])))]
    groups = found[0].partition_by("kept_id", as_dict=True) if found else {}
    return {str(kept_id): group.to_dicts() for (kept_id,), group in groups.items()}


def _lowest(members: pl.DataFrame) -> pl.DataFrame:
    members = members.sort("cosine", "id")
    return members.filter(pl.int_range(pl.len()).over("kept_id") < N_MEMBERS)
