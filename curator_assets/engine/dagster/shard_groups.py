"""Shards that are one partition in Dagster: those of so many ranks of arrival that follow.

A group's key are the ranks that it may hold, `0000100-0000199`. Ranks never change, so a shard
never changes its group; that of the last ranks is filled as tars arrive, and one whose shards are
all gone is no partition any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from curator_assets.settings import Settings
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.store import Store

_N_DIGITS = 7
"""Of a rank: keys sort as their ranks up to ten million shards."""


def group_key(rank: int, n: int) -> str:
    """The partition key of the group that holds a rank of arrival, of `n` ranks each."""
    first = rank - rank % n
    return f"{first:0{_N_DIGITS}d}-{first + n - 1:0{_N_DIGITS}d}"


def grouped(shards: Iterable[str], ranks: Mapping[str, int], n: int) -> dict[str, list[str]]:
    """Key of each group that has any of some shards -> those of them, all in order of arrival.

    Args:
        shards: each with a rank.
        ranks: shard -> rank of arrival.
        n: ranks a group.
    """
    groups = dict[str, list[str]]()
    for shard in sorted(shards, key=ranks.__getitem__):
        groups.setdefault(group_key(ranks[shard], n), []).append(shard)
    return groups


@dataclass(frozen=True)
class ShardGroups:
    """The groups of the shards that a run works with.

    Attributes:
        members: key -> its shards, in order of arrival.
    """

    members: Mapping[str, list[str]]

    @cached_property
    def key_of(self) -> Mapping[str, str]:
        """Shard -> key of its group."""
        return {shard: key for key, shards in self.members.items() for shard in shards}


def shard_groups(settings: Settings, shards: Iterable[str]) -> ShardGroups | None:
    """The groups of some shards that have ranks; None where each is a partition by itself."""
    if settings.shards_per_partition == 1:
        return None
    ranks = read_arrivals(Store(settings.output))
    return ShardGroups(grouped(shards, ranks, settings.shards_per_partition))
