"""Embedding in worker processes: the same bits as in this one, and one row for what kills."""

import numpy as np
import polars as pl
import pytest
import traps
from pipeline import MODEL
from tar_files import write_members

from curator_assets.defs.embed import arithmetic, image_embeddings
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.encoder import Encoder
from curator_assets.engine.making import finished
from curator_assets.engine.stage import Advanced, Finished
from curator_assets.engine.workers import supervision
from curator_assets.kernels.decode import ImageDecoder


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[::20]]


def embedded(pipeline) -> dict[str, bytes]:
    """The table of each shard, once made."""
    work = pipeline.work()
    outcomes = finished(IMAGE_EMBEDDINGS, work.shards, work)
    found = [outcome for outcome in outcomes if not isinstance(outcome, Advanced)]
    assert all(isinstance(outcome, Finished) for outcome in found), found
    tables = {o.partition: pipeline.folder / "curated" / next(iter(o.files)) for o in found}
    return {shard: table.read_bytes() for shard, table in tables.items()}


def test_one_worker_two_and_none_write_the_same_bytes(pipeline, photos, monkeypatch, device):
    pipeline.changes = {"model": MODEL | {"device": device}}
    for i in range(4):
        members = [(f"{k}.jpg", photo) for k, photo in enumerate(photos[i * 2 : i * 2 + 3])]
        write_members(pipeline.folder / f"tars/{i}.tar", members)
    pipeline.note_arithmetic()
    one = embedded(pipeline)
    assert one.keys() == set("0123")
    place = "cpu" if device == "cpu" else "cuda:0"
    monkeypatch.setattr(Encoder, "devices", lambda _: [place, place])
    assert embedded(pipeline) == one
    monkeypatch.setattr(supervision, "runs_here", lambda _: True)
    assert embedded(pipeline) == one


def trapped(photo: bytes, deed: str) -> bytes:
    """The photo, which does something to the process that opens it."""
    return photo + traps.MARK + deed.encode() + b";"


def test_a_photograph_that_kills_costs_its_row_and_changes_no_other(pipeline, photos, monkeypatch):
    """Also where it is among the first, on which the precision is chosen."""
    for module in (arithmetic, image_embeddings):
        monkeypatch.setattr(module, "touched", traps.touched_with_traps)
    monkeypatch.setattr(arithmetic, "_choose", traps.choose_with_traps)
    monkeypatch.setattr(image_embeddings, "embedded", traps.embedded_with_traps)
    pipeline.changes = {"model": MODEL | {"precision": "auto"}}
    good = [(f"good{i}.jpg", photo) for i, photo in enumerate(photos[:6])]
    write_members(pipeline.folder / "tars/a.tar", good)
    assert pipeline.refresh()
    alone = dict(pipeline.table("embeddings/a.parquet").select("key", "embedding").rows())
    pipeline.ledger.remove(arithmetic.RECORD, "cpu")
    bad = ("crash.jpg", trapped(photos[0], "crash"))
    write_members(pipeline.folder / "tars/a.tar", [*good[:3], bad, *good[3:]])
    write_members(pipeline.folder / "tars/b.tar", [bad])
    assert pipeline.refresh()
    a, b = (pipeline.table(f"embeddings/{shard}.parquet") for shard in "ab")
    for table in (a, b):
        failed = table.filter(pl.col("error").is_not_null())
        assert failed.select("key", "error", "format").rows() == [
            ("crash", "decoder crashed", "jpeg")
        ]
        assert failed["content_hash"].null_count() == 0
    made = dict(a.filter(pl.col("error").is_null()).select("key", "embedding").rows())
    assert made.keys() == alone.keys()
    assert all(np.array_equal(made[key], alone[key]) for key in alone)
    metadata = pipeline.ledger.read_metadata("image_embeddings", "a")
    assert metadata["unreadable"] == {"decoder crashed": 1}
    assert metadata["in_worker"] is True


def test_crash2(pipeline, shared_data):
    """A JPEG 2000 file on which nvImageCodec may end the process, depending on what lies beside."""
    photos = sorted((shared_data / "flowers").rglob("*.jpg"))[:40]
    members = [(f"{i:03d}.jpg", path.read_bytes()) for i, path in enumerate(photos)]
    crash = (shared_data / "cases/crash2.jp2").read_bytes()
    write_members(pipeline.folder / "tars/a.tar", [*members[:20], ("c.jp2", crash), *members[20:]])
    assert pipeline.refresh()
    table = pipeline.table("embeddings/a.parquet")
    assert table["embedding"].null_count() == 1
    assert table.filter(pl.col("key") == "c")["error"].item() in ("decoder crashed", "corrupt")


def test_what_fails_all_that_is_read_is_told_as_it_is(pipeline, photos, monkeypatch):
    def broken(*_):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(ImageDecoder, "begin", broken)
    monkeypatch.setattr(supervision, "runs_here", lambda _: True)
    write_members(pipeline.folder / "tars/a.tar", [("a.jpg", photos[0])])
    work = pipeline.work()
    with pytest.raises(RuntimeError, match=r"^the device is gone$"):
        list(finished(IMAGE_EMBEDDINGS, work.shards, work))
