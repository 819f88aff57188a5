"""What a person sees of a shard's removals."""

import errno
from io import BytesIO
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image
from pipeline import Pipeline, work_done
from tar_files import write_members

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.report.pictures.contact_sheets import MAX_SHEET_BYTES
from curator_assets.storage.shards.source import Source

N_COPIES = 14


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    photos = [_jpeg(crop.image) for crop in crops()[:: 320 // N_COPIES]][:N_COPIES]
    write_members(folder / "tars/a.tar", [(f"{i}.jpg", photo) for i, photo in enumerate(photos)])
    copies = [(f"deep/{i}.jpg", photo) for i, photo in enumerate(photos)]
    grey = BytesIO()
    Image.new("RGB", (64, 64), "grey").save(grey, "PNG")
    odd = [("grey.png", grey.getvalue()), ("broken.jpg", b"no picture")]
    write_members(folder / "tars/b/c.tar", [*copies, *odd])
    with dg.DagsterInstance.ephemeral() as instance:
        filters = [{"score": "sharpness", "min": 0.5}]
        pipeline = Pipeline(folder, instance, {"filters": filters})
        pipeline.run_all()
        yield pipeline


def opened(metadata) -> Image.Image:
    data = Path(metadata["sheet"]).read_bytes()
    assert len(data) <= MAX_SHEET_BYTES
    return Image.open(BytesIO(data))


def test_each_duplicate_is_shown_beside_its_kept_one(finished):
    metadata = finished.ledger.read_metadata("duplicate_ids", "b/c")
    assert len(metadata["removals"]) == metadata["n_duplicates"] == N_COPIES
    assert metadata["n_pictures_missing"] == 0
    rows = metadata["sheet_rows"]
    assert [row["row"] for row in rows] == list(range(1, 11))
    assert all(row["kept"] == f"a/{row['removed'].removeprefix('b/c/deep/')}" for row in rows)
    sheet = opened(metadata)
    step = (sheet.height - 4) // len(rows)
    assert sheet.width == 2 * step + 4
    for row in range(len(rows)):
        top = row * step + 4
        left = sheet.crop((4, top, step, top + step - 4))
        right = sheet.crop((step + 4, top, 2 * step, top + step - 4))
        assert mean_difference(left, right) < 12


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    pairs = zip(one.convert("L").tobytes(), other.convert("L").tobytes(), strict=True)
    return sum(abs(a - b) for a, b in pairs) / (one.width * one.height)


def test_a_shard_without_duplicates_has_no_sheet(finished):
    metadata = finished.ledger.read_metadata("duplicate_ids", "a")
    assert metadata["removals"] == []
    assert "sheet" not in metadata


def test_dropped_images_are_shown_by_reason(finished):
    metadata = finished.ledger.read_metadata("deduplicated_shards", "b/c")
    assert metadata["sheet_rows"] == [
        {"row": 1, "why": "duplicate", "shown": 6, "of": N_COPIES},
        {"row": 2, "why": "filtered: sharpness < 0.5", "shown": 1, "of": 1},
    ]
    sheet = opened(metadata)
    assert (sheet.width - 4) / 6 == (sheet.height - 4) / 2
    assert [row["verdict"] for row in metadata["removals"][-2:]] == ["filtered", "unreadable"]


def test_the_event_links_to_the_sheet_and_holds_no_picture(finished):
    event = finished.instance.get_latest_materialization_event(dg.AssetKey("duplicate_ids"))
    records = finished.instance.fetch_materializations(dg.AssetKey("duplicate_ids"), limit=10)
    shown = [r.asset_materialization.metadata for r in records.records if r.partition_key == "b/c"]
    assert event
    sheet = finished.folder / "curated/report/sheets/duplicate_ids/b/c.jpg"
    assert shown[0]["sheet"] == dg.MetadataValue.path(str(sheet))
    assert isinstance(shown[0]["sheet_rows"], dg.TableMetadataValue)
    stored = [record.event_log_entry for record in records.records]
    assert all(len(dg.serialize_value(entry)) < 20_000 for entry in stored)


def test_a_sheet_that_is_lost_is_made_again_and_nothing_else(finished):
    sheet = finished.folder / "curated/report/sheets/duplicate_ids/b/c.jpg"
    before = finished.ledger.read("duplicate_ids", "b/c")
    data = sheet.read_bytes()
    assert finished.store.hash("report/sheets/duplicate_ids/b/c.jpg") in before.files.values()
    sheet.unlink()
    by_shard = ("duplicate_ids", "deduplicated_shards")
    result = finished.materialize(*by_shard, partitions=("a", "b/c"))
    assert work_done(result) == {"duplicate_ids": 1, "deduplicated_shards": 0}
    assert sheet.read_bytes() == data
    assert finished.ledger.read("duplicate_ids", "b/c") == before


def remove_entry(finished, asset):
    for name in finished.ledger.names(asset, "b/c"):
        finished.store.remove(name)


def test_storage_that_fails_costs_pictures_and_nothing_else(finished, monkeypatch):
    before = finished.output_bytes()
    version = finished.ledger.read("duplicate_ids", "b/c").data_version

    def broken(self, shard, ranges):
        raise OSError(errno.EIO, "connection reset")

    monkeypatch.setattr(Source, "read_ranges", broken)
    try:
        finished.changes["duplicates"] = {"eps": 0.029}
        remove_entry(finished, "duplicate_ids")
        remove_entry(finished, "deduplicated_shards")
        by_shard = ("duplicate_groups", "duplicate_ids", "deduplicated_shards")
        assert finished.materialize(*by_shard, partitions=("a", "b/c")).success
        report = finished.materialize("curation_report", fails=True)  # to be tried again
        failure = report.failure_data_for_node("curation_report").user_failure_data
        assert "storage failed: [Errno 5] connection reset" in failure.description
    finally:
        del finished.changes["duplicates"]
    assert finished.ledger.read("duplicate_ids", "b/c").data_version == version
    for asset in ("duplicate_ids", "deduplicated_shards"):
        metadata = finished.ledger.read_metadata(asset, "b/c")
        assert "sheet" not in metadata
        assert metadata["n_pictures_missing"] > 0
        assert "connection reset" in metadata["sheet_error"]
    assert finished.output_bytes() == before


def test_a_tar_that_is_gone_leaves_its_squares_empty(finished):
    (finished.folder / "tars/a.tar").rename(finished.folder / "a.tar")
    try:
        remove_entry(finished, "duplicate_ids")
        result = finished.materialize("duplicate_ids", partitions=("b/c", "b/c"))
        assert result.success
    finally:
        (finished.folder / "a.tar").rename(finished.folder / "tars/a.tar")
    metadata = finished.ledger.read_metadata("duplicate_ids", "b/c")
    assert metadata["n_pictures_missing"] == len(metadata["sheet_rows"]) == 10
    assert opened(metadata)
