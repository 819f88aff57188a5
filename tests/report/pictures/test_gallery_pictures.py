"""What keeps the page small."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import polars as pl
from PIL import Image

from curator_assets.report.numbers.cosine_bands import make_bands
from curator_assets.report.numbers.drawn_pairs import N_SHOWN
from curator_assets.report.numbers.duplicate_tables import N_LOWEST
from curator_assets.report.numbers.group_members import N_LARGEST, N_MEMBERS
from curator_assets.report.numbers.marked_pairs import N_TO_MARK
from curator_assets.report.numbers.removal_frames import BANDED
from curator_assets.report.numbers.sample_counts import MAX_BOUNDS, MAX_NEAR
from curator_assets.report.pictures.data_uri import data_uri
from curator_assets.report.pictures.galleries import Shown
from curator_assets.report.pictures.gallery_pictures import MAX_THUMBNAIL_BYTES, small_thumbnail

MAX_PICTURES_BYTES = 8_000_000


def pairs(n: int, band: int) -> pl.DataFrame:
    numbers = np.arange(n, dtype=np.int32)
    columns = {
        "shard": ["s"] * n,
        "position": numbers,
        "id": [f"i{i}" for i in numbers],
        "kept_id": [f"k{i}" for i in numbers],
        "cosine": np.full(n, 0.98, np.float32),
        "kept_shard": ["k"] * n,
        "kept_position": numbers,
        "band": [band] * n,
    }
    others = {name: [None] * n for name in BANDED if name not in columns}
    return pl.DataFrame(columns | others, schema=BANDED)


def test_a_page_of_the_most_that_galleries_ask_for_is_small_enough():
    bands = make_bands(0.03, 0.05)
    members = [row | {"kept_id": "k"} for row in pairs(N_MEMBERS, 1).to_dicts()]
    largest = [(f"g{i}", 99) for i in range(N_LARGEST)]
    drawn = pl.concat([pairs(N_SHOWN, band) for band in range(len(bands))])
    kept_ids = [*drawn["kept_id"], *(kept_id for kept_id, _ in largest)]
    duplicates = SimpleNamespace(
        bands=bands,
        to_mark=pl.concat([pairs(N_TO_MARK, band) for band in range(len(bands))]),
        drawn=drawn,
        lowest=pairs(N_LOWEST, 1),
        largest=largest,
        members=dict.fromkeys(kept_ids, members),
    )
    shown = Shown.choose(duplicates)
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
