from tar_files import write_members

from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.pixels import read_captions, read_images
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_versions import read_version, record_version
from curator_assets.storage.store import Store


def recorded(tmp_path, *shards):
    tars, store = Source(str(tmp_path / "tars")), Store(str(tmp_path / "out"))
    for shard in shards:
        signature = tars.signature(shard)
        _, content = read_version(Ledger(store), "tar_shards", tars, shard)
        record_version(store, Ledger(store), "tar_shards", shard, signature, content)
    return tars, store


def test_images_are_read_from_where_they_lie(tmp_path):
    for shard in ("a", "deep/b"):
        images = [(f"{i}.jpg", f"{shard}{i}".encode()) for i in range(5)]
        members = [member for image in images for member in (image, (image[0][0] + ".txt", b"c"))]
        write_members(tmp_path / "tars" / f"{shard}.tar", members)
    tars, store = recorded(tmp_path, "a", "deep/b")
    wanted = [("deep/b", 4), ("a", 0), ("a", 3)]
    images = read_images(tars, store, wanted)
    assert images == {(s, p): f"{s}{p}".encode() for s, p in wanted}


def test_a_sample_without_image_and_an_unknown_tar_are_left_out(tmp_path):
    path = tmp_path / "tars" / "a.tar"
    write_members(path, [("0.txt", b"no image"), ("1.jpg", b"1")])
    tars, store = recorded(tmp_path, "a")
    wanted = [("a", 0), ("a", 1), ("gone", 0)]
    assert read_images(tars, store, wanted) == {("a", 1): b"1"}
    write_members(path, [(f"{i}.jpg", b"another") for i in range(20)])
    assert read_images(tars, store, wanted) == {}


def test_captions_are_read_and_a_sample_without_one_is_left_out(tmp_path):
    members = [("0.jpg", b"0"), ("0.txt", " a dög\n".encode()), ("1.jpg", b"1"), ("1.json", b"{}")]
    members += [("2.jpg", b"2"), ("2.txt", b""), ("3.txt", b"no image")]
    write_members(tmp_path / "tars" / "a.tar", members)
    tars, store = recorded(tmp_path, "a")
    captions = read_captions(tars, store, [("a", position) for position in range(5)])
    assert captions == {("a", 0): "a dög", ("a", 2): ""}
