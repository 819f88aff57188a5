"""`tar_shards`: the tars as they lie, which nothing here makes."""

from curator_assets.engine.stage import External
from curator_assets.storage import layout

TAR_SHARDS = External(
    name=layout.TAR_SHARDS,
    group="1_source",
    kinds=frozenset({"webdataset"}),
    description="The tars as they lie in the source, which nothing here makes or changes.\n\n"
    "A partition is a tar, called a shard, registered once it is seen whole. Its version is a "
    "hash of the members' names and bytes, noted whenever the tar is read: one that is dropped "
    "again with other bytes makes stale what was made of it.",
    files=lambda shard: (layout.tar_index(shard),),
)
