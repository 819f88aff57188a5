"""Partitions in Dagster's terms: shards come as tars arrive, cell groups are set.

The instance knows every shard, whether or not several of them are one partition of the assets.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from curator_assets.engine.dagster.partition_keys import partition_key, shard_of
from curator_assets.engine.dagster.shard_groups import grouped
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import cell_group_names
from curator_assets.errors import UserError
from curator_assets.project import HOME_VARIABLE, own_home
from curator_assets.settings import Settings
from curator_assets.settings_file import settings_file
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.store import Store

SHARDS = dg.DynamicPartitionsDefinition(name="shards")
SHARD_GROUPS = dg.DynamicPartitionsDefinition(name="shard_groups")

_FILE, _OUTPUT = "curator_assets/settings_file", "curator_assets/output"

_REPORTED_BY = "curator_assets/shards_per_partition"
"""Of the last refresh that reported everything, or `_MIXED` if others have reported since."""

_MIXED = "mixed"

_KEYS_PER_CALL = 5_000  # one huge insert holds the instance's lock for too long


def shard_partitions(settings: Settings) -> dg.DynamicPartitionsDefinition:
    """The partitions of assets by shard."""
    return SHARDS if settings.shards_per_partition == 1 else SHARD_GROUPS


def partitions_of(stage: Stage, settings: Settings) -> dg.PartitionsDefinition[str] | None:
    """The partitions of a stage's asset; None for an asset without any."""
    match stage.by:
        case Partitioning.SHARD:
            return shard_partitions(settings)
        case Partitioning.CELL_GROUP:
            return dg.StaticPartitionsDefinition(cell_group_names(settings))
        case Partitioning.WHOLE:
            return None


class OtherInstanceError(UserError):
    """An instance is that of another project."""


class InstanceRegistry:
    """The shards that an instance has as partitions.

    An instance is of one project: with those of another among its shards, each would take the
    other's for removed ones. It knows its project by its settings file and its output; one in
    Postgres, which several hosts share, by the output alone.

    Args:
        instance: where they are kept.
        settings: of the project.

    Raises:
        OtherInstanceError: the instance has the shards of another project.
    """

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self._instance, self._output = instance, Store(settings.output)
        self._n_grouped = settings.shards_per_partition
        self._is_shared = _is_in_postgres(instance)
        self._project = {_OUTPUT: self._output.location}
        if not self._is_shared:
            self._project[_FILE] = os.fspath(settings_file())
        self._known = instance.run_storage.get_cursor_values(set(self._project))
        if self._known and not self._is_mine():
            raise OtherInstanceError(self._why_not_mine())

    def _is_mine(self) -> bool:
        """Whether what the instance knows is this project, also where it was moved or copied."""
        if self._known.items() & self._project.items():
            return True
        if self._is_shared:
            return False
        file, known = settings_file(), Path(self._known.get(_FILE, ""))
        was_copied = known.parent != file.parent
        is_own = Path(self._instance.root_directory) == own_home(file)
        return not known.exists() or (is_own and was_copied)

    def _why_not_mine(self) -> str:
        where, whose = f"in {self._instance.root_directory}", f"output {self._known.get(_OUTPUT)}"
        its_own = f"a folder of its own, or another {HOME_VARIABLE}"
        if self._is_shared:
            where, its_own = "in this Postgres database", "a database of its own"
        else:
            whose = f"{self._known.get(_FILE)}, {whose}"
        return (
            f"the Dagster instance {where} is that of another project ({whose}): two projects in "
            f"one instance take each other's shards for removed ones; give this one {its_own}; if "
            "that project is no more, delete the instance: only the history of its runs is lost"
        )

    def shards(self) -> Sequence[str]:
        """In the order in which they were added."""
        return [shard_of(key) for key in self._instance.get_dynamic_partitions(str(SHARDS.name))]

    def add(self, shards: Sequence[str]) -> None:
        """Make partitions of shards, in this order; the instance is this project's from then on."""
        self._output.require_guard()
        if self._known != self._project:
            self._instance.run_storage.set_cursor_values(self._project)
            self._known = self._project
        for start in range(0, len(shards), _KEYS_PER_CALL):
            keys = [partition_key(shard) for shard in shards[start : start + _KEYS_PER_CALL]]
            self._instance.add_dynamic_partitions(str(SHARDS.name), keys)

    def remove(self, shard: str) -> None:
        """Forget a shard, if it is known."""
        self._output.require_guard()
        self._instance.delete_dynamic_partition(str(SHARDS.name), partition_key(shard))

    def regroup(self) -> None:
        """Have the groups of the shards as partitions, and no others.

        Groups are read before shards, which others add before groups: none of theirs is lost.
        """
        name = str(SHARD_GROUPS.name)
        there, wanted = list(self._instance.get_dynamic_partitions(name)), list[str]()
        if self._n_grouped > 1:
            shards = self.shards()
            ranks = read_arrivals(self._output)
            ranked = (shard for shard in shards if shard in ranks)
            wanted = list(grouped(ranked, ranks, self._n_grouped))
        if there == wanted:
            return
        self._output.require_guard()
        kept = set(there).intersection(wanted)
        for key in there:
            if key not in kept:
                self._instance.delete_dynamic_partition(name, key)
        new = [key for key in wanted if key not in kept]
        for start in range(0, len(new), _KEYS_PER_CALL):
            self._instance.add_dynamic_partitions(name, new[start : start + _KEYS_PER_CALL])

    def is_regrouped(self) -> bool:
        """Whether shards are grouped in another way than when everything was last reported."""
        stored = self._instance.run_storage.get_cursor_values({_REPORTED_BY})
        return stored.get(_REPORTED_BY, "1") != str(self._n_grouped)

    def note_reporting(self) -> None:
        """Remember that some may be reported by the groups that there are now, and some not."""
        if self.is_regrouped():
            self._output.require_guard()
            self._instance.run_storage.set_cursor_values({_REPORTED_BY: _MIXED})

    def note_reported(self) -> None:
        """Remember that everything is reported by the groups that there are now."""
        if self.is_regrouped():
            self._output.require_guard()
            self._instance.run_storage.set_cursor_values({_REPORTED_BY: str(self._n_grouped)})


def _is_in_postgres(instance: dg.DagsterInstance) -> bool:
    return type(instance.run_storage).__module__.startswith("dagster_postgres")
