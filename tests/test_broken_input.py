"""What bad input does to a run: it costs a row, or it is refused by name."""

import io
import tarfile

import dagster as dg
import numpy as np
import pytest
from pipeline import Pipeline
from tar_files import read_members, write_members

from curator_assets.storage.shards.not_taken import read_not_taken

REASONS = {"empty", "truncated", "not an image", "unsupported format", "too many pixels", "corrupt"}


def test_every_malformed_file_is_counted_and_every_good_photo_embedded(shared_data, pipeline):
    bad = sorted((shared_data / "malformed").iterdir())
    good = sorted((shared_data / "flowers").rglob("*.jpg"))[:44]
    members = [
        (f"{kind}{i:03d}{path.suffix}", path.read_bytes())
        for i, pair in enumerate(zip(good, bad, strict=True))
        for kind, path in zip(("good", "bad"), pair, strict=True)
    ]
    write_members(pipeline.folder / "tars" / "mixed.tar", members)
    pipeline.run_all()
    table = pipeline.table("embeddings/mixed.parquet")
    assert len(table) == 88
    errors = dict(zip(table["key"], table["error"], strict=True))
    assert all(errors[f"good{i:03d}"] is None for i in range(44))
    refused = {key: error for key, error in errors.items() if error}
    assert set(refused.values()) <= REASONS
    assert len(refused) >= 30
    print({reason: list(refused.values()).count(reason) for reason in sorted(REASONS)})
    metadata = pipeline.ledger.read_metadata("image_embeddings", "mixed")
    assert metadata["n_unreadable"] == len(refused)
    verdicts = pipeline.table("shards/mixed.parquet")
    assert (verdicts["verdict"] == "unreadable").sum() == len(refused)


@pytest.fixture
def photo(shared_data):
    return (shared_data / "flowers/daisy/10993710036_2033222c91.jpg").read_bytes()


def test_a_sample_without_an_image_is_a_row_with_a_reason(pipeline, photo):
    members = [("a.jpg", photo), ("a.txt", b"a"), ("b.txt", b"alone")]
    write_members(pipeline.folder / "tars" / "0.tar", members)
    pipeline.run_all()
    assert pipeline.table("embeddings/0.parquet")["error"].to_list() == [None, "no image"]
    assert read_members(pipeline.folder / "curated/shards/0.tar") == dict(members[:2])


def test_a_shard_that_keeps_nothing_writes_no_tar_and_says_so(pipeline, photo):
    write_members(pipeline.folder / "tars" / "0.tar", [("a.jpg", photo)])
    write_members(pipeline.folder / "tars" / "1.tar", [("b.jpg", photo), ("c.jpg", b"")])
    pipeline.run_all()
    shards = pipeline.folder / "curated/shards"
    assert sorted(path.name for path in shards.iterdir()) == ["0.parquet", "0.tar", "1.parquet"]
    metadata = pipeline.ledger.read_metadata("deduplicated_shards", "1")
    assert metadata["tar"] == "none: nothing is kept"
    assert metadata["n_duplicates"] == metadata["n_unreadable"] == 1


def test_a_cut_tar_fails_by_name_and_the_others_are_made(pipeline, photo):
    for name in ("0", "1", "2"):
        write_members(pipeline.folder / "tars" / f"{name}.tar", [("a.jpg", photo)])
    pipeline.register()
    broken = pipeline.folder / "tars" / "1.tar"
    broken.write_bytes(broken.read_bytes()[:-10240])
    result = pipeline.materialize("image_embeddings", partitions=("0", "2"), fails=True)
    assert not result.success
    description = result.failure_data_for_node("image_embeddings").user_failure_data.description
    assert "1: shard '1': " in description
    assert pipeline.ledger.read("image_embeddings", "0")
    assert pipeline.ledger.read("image_embeddings", "2")
    assert not pipeline.ledger.read("image_embeddings", "1")


def odd_tar(*members, kind=tarfile.GNU_FORMAT) -> bytes:
    """A tar of (name, data), or (name, type, link) members; names may hold any byte."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for name, *what in members:
            info = tarfile.TarInfo(name.encode("latin-1").decode("utf-8", "surrogateescape"))
            if len(what) == 1:
                info.size = len(what[0])
            else:
                info.type, info.linkname = what
            tar.addfile(info, io.BytesIO(what[0] if len(what) == 1 else b""))
    return file.getvalue()


def test_odd_tars_are_read_or_refused_by_name_and_good_photos_are_as_ever(pipeline, photo, capfd):
    other = photo[:-2] + b"\xff\xfe\x00\x02\xff\xd9"  # the same picture in other bytes
    clean, odd = pipeline.folder / "clean", pipeline.folder / "tars"
    tars = {
        "good": odd_tar(("g.jpg", photo), ("g.txt", b"words")),
        "empty": odd_tar(),
        "latin": odd_tar(("caf\xe9.jpg", other), ("r\xe9adme", b"x")),
        "links": odd_tar(
            ("l.jpg", tarfile.LNKTYPE, "t.jpg"),
            ("s.jpg", tarfile.SYMTYPE, "t.jpg"),
            ("t.jpg", other + b"t"),
            ("t.txt", b"t"),
        ),
        "mac": odd_tar(("p/._a.jpg", b"\0\5"), ("p/a.jpg", other + b"m"), ("p/.DS_Store", b"x")),
        "several": odd_tar(("q.left.jpg", other + b"q"), ("q.right.jpg", photo)),
        "cat": odd_tar(("a.jpg", photo)) + odd_tar(("b.jpg", photo)),
    }
    odd.mkdir()
    for name, data in tars.items():
        (odd / f"{name}.tar").write_bytes(data)
    assert not pipeline.refresh()
    said = capfd.readouterr()
    assert "shard 'cat': it ends at byte" in said.out + said.err
    keys = {
        name: pipeline.table(f"embeddings/{name}.parquet")["key"].to_list()
        for name in tars
        if name != "cat"
    }
    assert keys == {
        "good": ["g"],
        "empty": [],
        "latin": [r"caf\xe9"],
        "links": ["l", "t"],
        "mac": ["p/a"],
        "several": ["q"],
    }
    several = pipeline.table("embeddings/several.parquet")
    assert several.select("ext", "n_images").rows() == [("left.jpg", 2)]
    left_out = {
        name: pipeline.ledger.read("image_embeddings", name).state["left_out"] for name in keys
    }
    assert left_out == {
        "good": {},
        "empty": {},
        "latin": {"no extension": 1},
        "links": {"symbolic link": 1},
        "mac": {"hidden file": 2},
        "several": {},
    }
    noted = read_not_taken(pipeline.store)
    assert list(noted) == ["cat.tar"]
    assert noted["cat.tar"].reason.startswith("refused: it ends at byte")
    page = (pipeline.folder / "curated/report/index.html").read_text()
    assert "refused: it ends at byte" in page
    assert "1 image was not looked at" in page
    assert "2 hidden file" in page
    assert not pipeline.refresh()
    assert read_not_taken(pipeline.store) == noted
    (odd / "cat.tar").write_bytes(odd_tar(("a.jpg", photo)))
    assert pipeline.refresh()
    assert read_not_taken(pipeline.store) == {}
    (clean / "tars").mkdir(parents=True)
    (clean / "tars/good.tar").write_bytes(tars["good"])
    embedding = pipeline.table("embeddings/good.parquet")["embedding"].to_numpy()
    with dg.DagsterInstance.ephemeral() as instance:
        alone = Pipeline(clean, instance)
        alone.run_all()
        unmixed = alone.table("embeddings/good.parquet")["embedding"].to_numpy()
    assert np.array_equal(unmixed, embedding)


def test_too_many_unreadable_samples_fail_the_shard_if_asked_to(pipeline, photo):
    pipeline.changes = {"decode": {"max_unreadable_fraction": 0.4}}
    write_members(pipeline.folder / "tars" / "0.tar", [("a.jpg", photo), ("b.jpg", b"")])
    pipeline.register()
    result = pipeline.materialize("image_embeddings", partitions=("0", "0"), fails=True)
    description = result.failure_data_for_node("image_embeddings").user_failure_data.description
    assert "1 of 2 samples are unreadable" in description
    assert "'empty': 1" in description


def test_a_replaced_tar_is_not_curated_by_what_was_known_of_the_old_one(pipeline, photo):
    tar = pipeline.folder / "tars" / "0.tar"
    write_members(tar, [("a.jpg", photo)])
    pipeline.run_all()
    (pipeline.folder / "curated/shards/0.tar").unlink()
    write_members(tar, [("a.jpg", photo), ("b.jpg", b"")])
    result = pipeline.materialize("deduplicated_shards", partitions=("0", "0"), fails=True)
    description = result.failure_data_for_node("deduplicated_shards").user_failure_data.description
    assert "was replaced since it was embedded" in description
