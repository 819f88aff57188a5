"""Partitions in Dagster's terms: shards come as tars arrive, cell groups are set."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import cell_group_names
from curator_assets.errors import UserError
from curator_assets.project import SETTINGS, own_home
from curator_assets.settings import Settings
from curator_assets.settings_file import settings_file

SHARDS = dg.DynamicPartitionsDefinition(name="shards")

_SOURCE, _OUTPUT = "curator_assets/source", "curator_assets/output"

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


def is_own_instance(instance: dg.DagsterInstance) -> bool:
    """Whether an instance lies beside `curator.yaml` and moves with it."""
    file = settings_file()
    return file.name == SETTINGS and Path(instance.root_directory) == own_home(file)


class OtherInstanceError(UserError):
    """An instance is that of another project."""


class InstanceRegistry:
    """The shards that an instance has as partitions.

    An instance is of one project: with those of another among its shards, each would take the
    other's for removed ones. It knows its project by `source` and `output`; one of them may change.

    Args:
        instance: where they are kept.
        settings: of the project.

    Raises:
        OtherInstanceError: the instance has the shards of another project.
    """

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self._instance = instance
        self._project = {_SOURCE: settings.source, _OUTPUT: settings.output}
        known = instance.run_storage.get_cursor_values(set(self._project))
        if known and not is_own_instance(instance) and not known.items() & self._project.items():
            raise OtherInstanceError(
                f"the Dagster instance in {instance.root_directory} is that of another project "
                f"(source {known.get(_SOURCE)}, output {known.get(_OUTPUT)}): two projects in one "
                "instance take each other's shards for removed ones; give this one a folder and an "
                "instance of its own: unset DAGSTER_HOME, or name another there"
            )
        self._known = known

    def shards(self) -> Sequence[str]:
        """In the order in which they were added."""
        return self._instance.get_dynamic_partitions(str(SHARDS.name))

    def add(self, shards: Sequence[str]) -> None:
        """Make partitions of shards, in this order; the instance is this project's from then on."""
        if self._known != self._project:
            self._instance.run_storage.set_cursor_values(self._project)
            self._known = self._project
        for start in range(0, len(shards), _KEYS_PER_CALL):
            keys = list(shards[start : start + _KEYS_PER_CALL])
            self._instance.add_dynamic_partitions(str(SHARDS.name), keys)

    def remove(self, shard: str) -> None:
        """Forget a shard, if it is known."""
        self._instance.delete_dynamic_partition(str(SHARDS.name), shard)
