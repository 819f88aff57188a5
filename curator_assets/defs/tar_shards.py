"""`tar_shards`: the tars as they lie."""

import dagster as dg

from curator_assets.partitions import SHARDS

ASSET = "tar_shards"

tar_shards = dg.AssetSpec(
    ASSET,
    partitions_def=SHARDS,
    group_name="source",
    kinds={"webdataset"},
    description="The webdataset tars under `source`, one a shard, registered as they appear. Its "
    "version is a hash of the members' names and bytes, noted whenever a tar is read.",
)
