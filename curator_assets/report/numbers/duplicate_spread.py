"""Groups by size, and duplicates within and across shards."""

from __future__ import annotations

import polars as pl


def group_sizes(groups: pl.DataFrame) -> pl.DataFrame:
    """The table `group_sizes`: a group is a kept image and those that it stands for."""
    sizes = groups.group_by("kept_id").agg((pl.len() + 1).cast(pl.Int64).alias("size"))
    return sizes.group_by("size").agg(pl.len().cast(pl.Int64).alias("n_groups")).sort("size")


def shard_pairs(groups: pl.DataFrame) -> pl.DataFrame:
    """The table `shard_pairs`: where the removed lie, and where those lie that stand for them.

    Most duplicates first, ties by name.
    """
    counted = groups.group_by(
        pl.col("shard").cast(pl.String), pl.col("kept_shard").cast(pl.String)
    ).agg(pl.len().cast(pl.Int64).alias("n_duplicates"))
    order = ["n_duplicates", "shard", "kept_shard"]
    return counted.sort(order, descending=[True, False, False])


def within_shards(pairs: pl.DataFrame) -> int:
    """How many duplicates lie in one shard with the image that stands for them."""
    return int(pairs.filter(pl.col("shard") == pl.col("kept_shard"))["n_duplicates"].sum())
