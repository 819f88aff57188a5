"""What keeps the page small."""

import base64
import io

import numpy as np
import polars as pl
from PIL import Image

from curator_assets.report.numbers.cosine_bands import band_of, make_bands
from curator_assets.report.numbers.marked_pairs import pairs_to_mark
from curator_assets.report.numbers.sample_counts import MAX_BOUNDS, MAX_NEAR
from curator_assets.report.pictures.data_uri import data_uri
from curator_assets.report.pictures.galleries import Shown
from curator_assets.report.pictures.gallery_pictures import MAX_THUMBNAIL_BYTES, small_thumbnail
from curator_assets.settings import Settings

MAX_PICTURES_BYTES = 8_000_000


def test_a_page_of_the_most_that_galleries_ask_for_is_small_enough():
    settings = Settings(source="a", output="b")
    bands = make_bands(0.03, 0.05)
    cosines = np.linspace(0.95, 1, 20_000).astype(np.float32)
    n = len(cosines)
    pairs = pl.DataFrame(
        {
            "shard": ["s"] * n,
            "position": np.arange(n, dtype=np.int32),
            "id": [f"i{i}" for i in range(n)],
            "kept_id": [f"k{i % 97}" for i in range(n)],
            "cosine": cosines,
            "kept_shard": ["k"] * n,
            "kept_position": np.arange(n, dtype=np.int32) % 97,
            "removed": cosines >= np.float32(0.97),
            "band": band_of(cosines, bands),
        }
    )
    shown = Shown.choose(pairs, bands, pairs_to_mark(pairs, bands, [], 0), settings)
    shown = shown.found([], {}, {})
    rows = [row for band in shown.bands for row in band] + [row for _, row in shown.largest]
    rows += shown.to_mark + 3 * shown.doubtful["Lowest cosine"]
    n_pictures = sum(len(row) for row in rows) + max(2 * 80, 2 * MAX_BOUNDS, 2 * MAX_NEAR)
    assert n_pictures > 500
    assert n_pictures * MAX_THUMBNAIL_BYTES * 4 / 3 < MAX_PICTURES_BYTES


def test_a_picture_that_compresses_badly_is_made_smaller():
    noise = np.random.default_rng(0).integers(256, size=(144, 144, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    small = small_thumbnail(file.getvalue())
    assert len(small) <= MAX_THUMBNAIL_BYTES
    assert max(Image.open(io.BytesIO(small)).size) < 144
    assert small_thumbnail(b"no image") is None


def test_a_picture_within_the_page_is_whole():
    head, _, text = data_uri(b"\xff\xd8jpeg", "jpeg").partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(text) == b"\xff\xd8jpeg"
