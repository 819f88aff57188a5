"""360 real photographs with natural near-duplicates, judged by a copy-detection model."""

import csv

import numpy as np
import polars as pl
from tar_files import write_members


def test_natural_near_duplicates_are_in_one_group_or_beyond_eps(shared_data, pipeline):
    photos = sorted((shared_data / "flowers").rglob("*.jpg"))
    for k in range(6):
        members = [(f"{p.parent.name}/{p.name}", p.read_bytes()) for p in photos[k::6]]
        write_members(pipeline.folder / "tars" / f"{k}.tar", members)
    pipeline.run_all()

    table = pipeline.table("embeddings/*.parquet").sort("image_id")
    assert table["error"].null_count() == len(table) == 360
    embedding = dict(zip(table["key"], table["embedding"].to_numpy(), strict=True))
    verdicts = pipeline.table("shards/*.parquet")
    stands_for = dict(
        verdicts.select("key", pl.coalesce("kept_id", "image_id").alias("kept")).iter_rows()
    )
    assert set(pipeline.table("duplicates/groups.parquet")["id"]) == brute_force(table, 0.97)
    with (shared_data / "flowers_near_duplicate_pairs.csv").open() as file:
        listed = [row for row in csv.DictReader(file) if float(row["sscd_cosine"]) >= 0.9]
    assert listed
    for row in listed:
        a, b = (row[side].removesuffix(".jpg") for side in "ab")
        cosine = float(np.dot(embedding[a], embedding[b]))
        grouped = stands_for[a] == stands_for[b]
        print(f"{row['sscd_cosine']} copy detection, {cosine:.4f} embedding, grouped {grouped}")
        assert grouped or cosine < 0.97


def brute_force(table: pl.DataFrame, min_cosine: float) -> set[str]:
    """The ids that the greedy rule removes, by comparing every image with every kept one."""
    ordered = table.sort("shard", "position")
    embeddings = ordered["embedding"].to_numpy().astype(np.float64)
    kept, removed = list[int](), set()
    for i, image_id in enumerate(ordered["image_id"]):
        if (embeddings[kept] @ embeddings[i] >= min_cosine).any():
            removed.add(image_id)
        else:
            kept.append(i)
    return removed
