"""`tar_shards`: the tars as they lie, which nothing here makes."""

from curator_assets.engine.stage import External
from curator_assets.storage import layout

TAR_SHARDS = External(
    name=layout.TAR_SHARDS,
    group="source",
    kinds=frozenset({"webdataset"}),
    description="The webdataset tars under `source`, one a shard, registered as they appear. Its "
    "version is a hash of the members' names and bytes, noted whenever a tar is read.",
    files=lambda shard: (layout.tar_index(shard),),
)
