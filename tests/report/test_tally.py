"""Counts that grow by a frame at a time."""

import random
from collections import Counter

import polars as pl

from curator_assets.report import tally
from curator_assets.report.tally import Tally


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
