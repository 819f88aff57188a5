"""Counts that grow by a frame at a time, however large the frames are."""

import random
from collections import Counter

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from curator_assets.report.numbers import shard_frames, tally
from curator_assets.report.numbers.sample_counts import count_samples
from curator_assets.report.numbers.tally import Tally


def test_many_frames_are_summed_up_as_they_come(monkeypatch):
    monkeypatch.setattr(tally, "_MIN_HELD_ROWS", 7)
    draw, counted, n_images, n_bytes = (
        random.Random(0),
        Tally(format=pl.String),
        Counter(),
        Counter(),
    )
    for _ in range(50):
        rows = [
            (
                draw.choice(["jpeg", "png", None]),
                draw.choice(["kept", "duplicate"]),
                draw.randrange(9),
            )
            for _ in range(draw.randrange(6))
        ]
        for name, verdict, size in rows:
            n_images[name, verdict] += 1
            n_bytes[name, verdict] += size
        schema = {"format": pl.String, "verdict": pl.String, "n_bytes": pl.Int64}
        counted.add(pl.DataFrame(rows, schema=schema, orient="row"))
    found = {row[:2]: row[2:] for row in counted.table.iter_rows()}
    assert found == {key: (n_images[key], n_bytes[key]) for key in n_images}
    assert len(counted.table) == len(found)


@pytest.mark.parametrize("n_rows", [1, 50])
def test_counts_do_not_depend_on_how_many_shards_are_looked_at_together(
    finished, monkeypatch, n_rows
):
    shards = finished.shards()
    images = [(shard, position) for shard in shards for position in (0, 7)]
    whole = count_samples(finished.store, shards, finished.settings, images)
    monkeypatch.setattr(shard_frames, "_FRAME_ROWS", n_rows)
    parts = count_samples(finished.store, shards, finished.settings, images)
    assert len(shards) > 2
    assert parts.facts == whole.facts
    assert set(images) < set(whole.facts)
    for name in ("reasons", "shards", "cells"):
        assert_frame_equal(getattr(parts, name).table, getattr(whole, name).table)
    for by, counted in whole.rates.items():
        assert_frame_equal(parts.rates[by].table, counted.table)
    for part, score in zip(parts.scores, whole.scores, strict=True):
        assert_frame_equal(part.histogram(), score.histogram())
        assert_frame_equal(part.thresholds(), score.thresholds())
    for part, near in zip(parts.near, whole.near, strict=True):
        for passes in (True, False):
            assert part.images(passes=passes) == near.images(passes=passes)
