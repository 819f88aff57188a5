"""Partitions in Dagster's terms: shards come as tars arrive, cell groups are set."""

from collections.abc import Sequence

import dagster as dg

from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import cell_group_names
from curator_assets.settings import Settings

SHARDS = dg.DynamicPartitionsDefinition(name="shards")

_KEYS_PER_CALL = 5_000  # one huge insert holds the instance's lock for too long


def partitions_of(stage: Stage, settings: Settings) -> dg.PartitionsDefinition[str] | None:
    """The partitions of a stage's asset; None for an asset without any."""
    match stage.by:
        case Partitioning.SHARD:
            return SHARDS
        case Partitioning.CELL_GROUP:
            return dg.StaticPartitionsDefinition(cell_group_names(settings))
        case Partitioning.WHOLE:
            return None


class InstanceRegistry:
    """The shards that an instance has as partitions.

    Args:
        instance: where they are kept.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def shards(self) -> Sequence[str]:
        """In the order in which they were added."""
        return self._instance.get_dynamic_partitions(str(SHARDS.name))

    def add(self, shards: Sequence[str]) -> None:
        """Make partitions of shards, in this order."""
        for start in range(0, len(shards), _KEYS_PER_CALL):
            keys = list(shards[start : start + _KEYS_PER_CALL])
            self._instance.add_dynamic_partitions(str(SHARDS.name), keys)

    def remove(self, shard: str) -> None:
        """Forget a shard, if it is known."""
        self._instance.delete_dynamic_partition(str(SHARDS.name), shard)
