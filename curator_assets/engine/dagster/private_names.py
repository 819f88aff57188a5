"""Every name of Dagster that is not public, in one place; a test says which is gone."""

from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    CachingStaleStatusResolver,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.source_asset import (
    # Tells Dagster that the op has logged its own events. Without it every partition of a range
    # gets a second event with one data version for all (dagster issues 18649, 34013).
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION as EVENTS_ARE_LOGGED,
)
from dagster._core.events import EngineEventData
from dagster._core.instance.ref import InstanceRef
from dagster._core.loader import LoadingContextForTest
from dagster._core.log_manager import LOG_RECORD_METADATA_ATTR
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
)
from dagster._serdes import ConfigurableClassData

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "BACKFILL_ID_TAG",
    "CODE_VERSION_TAG",
    "DATA_VERSION_IS_USER_PROVIDED_TAG",
    "DATA_VERSION_TAG",
    "DEFAULT_DATA_VERSION",
    "EVENTS_ARE_LOGGED",
    "LOG_RECORD_METADATA_ATTR",
    "CachingStaleStatusResolver",
    "ConfigurableClassData",
    "DagsterStorage",
    "EngineEventData",
    "InstanceRef",
    "LoadingContextForTest",
    "NoOpComputeLogManager",
    "extract_data_version_from_entry",
    "get_input_data_version_tag",
    "get_input_event_pointer_tag",
]
