"""The tags by which Dagster's own staleness marks agree with the ledger."""

import time
from collections.abc import Mapping

import dagster as dg

from curator_assets.engine.dagster.private_names import (
    BACKFILL_ID_TAG,
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from curator_assets.engine.stage import Stage
from curator_assets.settings import Settings


def version_tags(version: str) -> dict[str, str]:
    """The tags of a data version."""
    return {DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}


def last_versions(
    instance: dg.DagsterInstance, asset: str, event: dg.DagsterEventType
) -> dict[str, str]:
    """Partition key -> data version of its last event of a kind."""
    found = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(asset), event, [DATA_VERSION_TAG]
    )
    return {partition: tags[DATA_VERSION_TAG] for partition, tags in found.items()}


class Provenance:
    """What the events of a stage were made from, as Dagster knows it.

    Args:
        instance: whose events are meant.
        stage: that is reported.
        settings: in force.
        run_tags: of the run that reports.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        stage: Stage,
        settings: Settings,
        run_tags: Mapping[str, str],
    ) -> None:
        self._instance = instance
        self._deps = sorted(dg.AssetKey(dep.stage.name) for dep in stage.deps)
        self._always = {CODE_VERSION_TAG: stage.code_version(settings)}
        if BACKFILL_ID_TAG in run_tags:
            self._always[BACKFILL_ID_TAG] = run_tags[BACKFILL_ID_TAG]
        self.read()

    def read(self) -> None:
        """Read what Dagster has last been told of the inputs."""
        self._inputs = dict[str, str]()
        for dep in self._deps:
            record = self._instance.get_latest_data_version_record(dep)
            version = extract_data_version_from_entry(record.event_log_entry) if record else None
            self._inputs[get_input_data_version_tag(dep)] = (version or DEFAULT_DATA_VERSION).value
            pointer = str(record.storage_id) if record else "NULL"
            self._inputs[get_input_event_pointer_tag(dep)] = pointer
        self._read_at = time.monotonic()

    @property
    def age_seconds(self) -> float:
        """How long ago it was read."""
        return time.monotonic() - self._read_at

    def tags(self, version: str) -> dict[str, str]:
        """Of an event with this data version."""
        return self._always | self._inputs | version_tags(version)
