"""The partitions: shards come as tars arrive, cell groups are fixed in the settings."""

import logging
import os

import dagster as dg

from curator_assets.settings import Settings
from curator_assets.storage.arrivals import record_arrivals
from curator_assets.storage.source import Source
from curator_assets.storage.store import Store

SHARDS_NAME = "shards"
SHARDS = dg.DynamicPartitionsDefinition(name=SHARDS_NAME)

_KEYS_PER_CALL = 5_000  # one huge insert holds the instance's lock for too long


def cell_groups(n_cell_groups: int) -> dg.StaticPartitionsDefinition:
    """Partitions `0000`, `0001`, … of `near_duplicate_pairs`."""
    return dg.StaticPartitionsDefinition([f"{group:04d}" for group in range(n_cell_groups)])


def register_shards(
    instance: dg.DagsterInstance, source: Source, store: Store, *, marker: str | None
) -> list[str]:
    """Make every whole tar below `source` a partition, in order of arrival.

    Args:
        instance: where partitions are kept.
        source: the tars.
        store: where arrivals are kept.
        marker: suffix of the file that says that a tar is whole, or None to look at its end.

    Returns:
        The shards that were not partitions before, in order of arrival.

    Raises:
        FileNotFoundError: there is no such source folder.
    """
    known = set(instance.get_dynamic_partitions(SHARDS_NAME))
    unknown = {s: found for s, found in source.list_shards().items() if s not in known}
    new = [shard for block in source.whole(unknown, marker) for shard in block]
    ranks = record_arrivals(store, new)
    keys = sorted(new, key=ranks.__getitem__)
    for start in range(0, len(keys), _KEYS_PER_CALL):
        instance.add_dynamic_partitions(SHARDS_NAME, keys[start : start + _KEYS_PER_CALL])
    return keys


def register_at_load(settings: Settings) -> None:
    """Register new tars when definitions load, so that the command line knows their partitions.

    Only where an instance is set up (`DAGSTER_HOME`). A source that can't be listed is a warning:
    the UI has to come up all the same.
    """
    if not os.environ.get("DAGSTER_HOME"):
        return
    try:
        with dg.DagsterInstance.get() as instance:
            source, store = Source(settings.source), Store(settings.output)
            register_shards(instance, source, store, marker=settings.marker)
    except Exception as error:  # each kind of storage raises its own
        logging.getLogger(__name__).warning("no new shards registered: %s", error)
