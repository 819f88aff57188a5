"""Pictures as people see them, from tars to verdicts."""

import polars as pl
import pytest
from encoded_images import encoded, waves
from PIL import Image, ImageDraw
from tar_files import write_members

from curator_assets.questions.sample_lookup import find_sample
from curator_assets.settings import FilterRule


def cutout(picture: Image.Image, hidden: str | None) -> bytes:
    """A disc of a picture; what it hides is the rest of it, or a colour."""
    disc = Image.new("L", picture.size, 0)
    ImageDraw.Draw(disc).ellipse((20, 10, 180, 140), fill=255)
    below = Image.new("RGB", picture.size, hidden) if hidden else picture
    shown = Image.composite(picture, below, disc)
    shown.putalpha(disc)
    return encoded(shown, "PNG")


@pytest.fixture
def seen(pipeline, shared_data):
    photos = sorted((shared_data / "flowers").rglob("*.jpg"))[:3]
    jpeg = photos[0].read_bytes()
    picture = Image.open(photos[1]).convert("RGB").resize((200, 150))
    members = [
        ("cut.jpg", jpeg[: len(jpeg) // 2] + b"\xff\xd9"),
        ("whole.jpg", jpeg),
        ("disc.png", cutout(picture, None)),
        ("disc_black.png", cutout(picture, "black")),
        ("disc_red.png", cutout(picture, "red")),
        ("gif.gif", encoded(waves(), "GIF")),
        ("avif.avif", encoded(Image.open(photos[2]), "AVIF", quality=80)),
        ("heic.heic", encoded(Image.open(photos[2]), "HEIF", quality=80)),
        ("page.jpg", b"<!DOCTYPE html><html><svg></svg></html>"),
    ]
    write_members(pipeline.folder / "tars" / "s.tar", members)
    return pipeline


def test_hidden_colours_make_no_difference_and_formats_no_more_than_their_losses(seen):
    seen.run_all()
    table = seen.table("embeddings/s.parquet")
    assert dict(zip(table["key"], table["has_alpha"], strict=True)) == {
        **dict.fromkeys(["cut", "whole", "gif", "avif", "heic"], False),
        **dict.fromkeys(["disc", "disc_black", "disc_red"], True),
        "page": None,
    }
    assert table["format"].to_list() == ["jpeg"] * 2 + ["png"] * 3 + ["gif", "avif", "heic", None]
    verdicts = seen.table("shards/s.parquet").select("key", "verdict", "kept_id", "cosine")
    rows = {row["key"]: row for row in verdicts.to_dicts()}
    for key, kept in {"disc_black": "s/disc", "disc_red": "s/disc", "heic": "s/avif"}.items():
        assert (rows[key]["verdict"], rows[key]["kept_id"]) == ("duplicate", kept)
    assert rows["disc_red"]["cosine"] == pytest.approx(1, abs=1e-6)
    assert rows["page"]["verdict"] == "unreadable"


def test_rules_may_name_what_is_transparent_and_what_is_cut(seen):
    opaque = {"score": "has_alpha", "max": 0}
    whole = {"score": "constant_rows_fraction", "max": 0.25}
    seen.changes = {"filters": [opaque, whole]}
    assert seen.refresh()
    table = seen.table("shards/s.parquet")
    reasons = dict(zip(table["key"], table["reason"], strict=True))
    assert reasons["cut"] == "constant_rows_fraction > 0.25"
    assert reasons["disc"] == reasons["disc_red"] == "has_alpha > 0"
    assert reasons["whole"] is None
    assert table.schema["has_alpha"] == pl.Float32
    sample = find_sample(seen.work(), "s/disc")
    assert not sample.passes(FilterRule(**opaque)) and sample.passes(FilterRule(**whole))
    assert (seen.folder / "curated/report/index.html").exists()
