"""Image files and Parquet become shards that hold their very bytes."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from curator_assets.cli.pack import pack
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _encoded, _jpeg
from curator_assets.packing.packable import PackError, safe_key
from curator_assets.storage.shards.tars import TarContent


def photographs(folder: Path, n: int = 7) -> None:
    """Images in folders, with captions beside them, and files that belong to none."""
    for i, crop in enumerate(crops()[:n]):
        path = folder / ("a" if i % 2 else "b.v1") / f"photo {i}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_jpeg(crop.image, quality=30))
        path.with_suffix(".txt").write_text(f"caption {i}")
        if i % 3 == 0:
            path.with_suffix(".json").write_text(json.dumps({"i": i}))
    (folder / "README").write_text("nothing")
    (folder / "a/.hidden.jpg").write_bytes(b"x")
    (folder / "a/alone.txt").write_text("of no image")


def shards(into: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(into.glob("*.tar"))}


def members(into: Path) -> dict[str, bytes]:
    found = {}
    for data in shards(into).values():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            found |= {info.name: tar.extractfile(info).read() for info in tar}
    return found


def test_every_byte_is_there_once_and_what_belongs_to_no_image_is_named(tmp_path, capsys):
    folder, into = tmp_path / "photos", tmp_path / "tars"
    photographs(folder)
    pack(folder, into, 3)
    printed = capsys.readouterr().out
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("photo *")
    }
    assert members(into) == files
    assert sorted(shards(into)) == ["00000.tar", "00001.tar", "00002.tar"]
    assert "7 samples packed" in printed
    assert "3 files belong to no image, left out: " in printed
    assert "README" in printed and "alone.txt" in printed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset's
def test_webdataset_and_the_pipelines_own_reader_read_them(tmp_path):
    photographs(tmp_path / "photos")
    pack(tmp_path / "photos", tmp_path / "tars", 100)
    path = tmp_path / "tars/00000.tar"
    dataset = wds.WebDataset(str(path), shardshuffle=False, empty_check=False)
    read = {sample["__key__"]: sample for sample in dataset}
    assert len(read) == 7
    assert read["a/photo 1"]["txt"] == b"caption 1"
    with path.open("rb") as file:
        samples = list(TarContent("00000").samples(file))
    assert [sample.key for sample in samples] == sorted(read)
    assert all(sample.image and sample.caption for sample in samples)


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    folder = tmp_path / "photos"
    photographs(folder, 40)
    pack(folder, tmp_path / "whole", 3)
    expected = shards(tmp_path / "whole")
    assert len(expected) == 14
    script = (
        "import os, signal, sys\n"
        "from itertools import islice\n"
        "from pathlib import Path\n"
        "import curator_assets.packing.new_shards as shards\n"
        "from curator_assets.cli.pack import pack\n"
        "real, n = shards.write_tar, [0]\n"
        "def write(file, samples):\n"
        "    n[0] += 1\n"
        "    real(file, islice(samples, 2 if n[0] == 6 else None))\n"
        "    if n[0] == 6:\n"
        "        file.flush()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "shards.write_tar = write\n"
        "pack(Path(sys.argv[1]), Path(sys.argv[2]), 3)\n"
    )
    into = tmp_path / "killed"
    command = [sys.executable, "-c", script, str(folder), str(into)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(shards(into)) == 5
    pack(folder, into, 3)
    assert shards(into) == expected
    (into / ".00099.tar.1.host.1.partial").touch()
    pack(folder, into, 3)
    assert [path.name for path in into.iterdir() if "partial" in path.name] == []


def test_what_is_added_goes_to_new_shards_and_nothing_else_happens(tmp_path, capsys):
    folder, into = tmp_path / "photos", tmp_path / "tars"
    photographs(folder)
    pack(folder, into, 5)
    before = shards(into)
    pack(folder, into, 5)
    assert "nothing to pack" in capsys.readouterr().out
    assert shards(into) == before
    (folder / "a/first.png").write_bytes(_encoded(crops()[9].image, "PNG"))
    pack(folder, into, 5)
    after = shards(into)
    assert after.keys() - before.keys() == {"00002.tar"}
    assert {name: after[name] for name in before} == before
    assert "a/first.png" in members(into)


def test_a_sample_that_was_changed_is_named_and_a_touched_one_is_not(tmp_path):
    folder, into = tmp_path / "photos", tmp_path / "tars"
    photographs(folder)
    pack(folder, into, 5)
    before = shards(into)
    for path in folder.rglob("*"):
        os.utime(path, (4e9, 4e9))
    pack(folder, into, 5)
    (folder / "a/photo 1.txt").write_text("another caption")
    os.utime(folder / "a/photo 1.txt", (4e9, 4e9))
    with pytest.raises(PackError, match=r"1 samples were changed .*\(a/photo 1 in 00000.tar\)"):
        pack(folder, into, 5)
    assert shards(into) == before


def test_shards_of_another_folder_or_size_are_not_mixed(tmp_path):
    photographs(tmp_path / "photos")
    photographs(tmp_path / "others")
    pack(tmp_path / "photos", tmp_path / "tars", 5)
    with pytest.raises(PackError, match="packed otherwise"):
        pack(tmp_path / "others", tmp_path / "tars", 5)
    with pytest.raises(PackError, match=r"5 samples a shard from .* \(6 samples a shard"):
        pack(tmp_path / "photos", tmp_path / "tars", 6)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/00000.tar").write_bytes((tmp_path / "tars/00000.tar").read_bytes())
    with pytest.raises(PackError, match="unknown"):
        pack(tmp_path / "photos", tmp_path / "foreign", 5)


def test_two_images_of_one_name_are_refused(tmp_path):
    photographs(tmp_path / "photos")
    (tmp_path / "photos/a/photo 1.png").write_bytes(b"x")
    with pytest.raises(PackError, match=r"photo 1.JPG, .*photo 1.png, .*; rename"):
        pack(tmp_path / "photos", tmp_path / "tars", 5)
    assert not (tmp_path / "tars").exists()


@pytest.mark.parametrize("name", ["v1.2 final.jpg", "100%.png", "ünï.webp", "x" * 150 + ".jpg"])
def test_names_that_would_end_a_key_too_early_are_safe(tmp_path, name):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / name).write_bytes(b"1")
    (folder / f"{Path(name).stem}.txt").write_bytes(b"2")
    pack(folder, tmp_path / "tars", 5)
    with (tmp_path / "tars/00000.tar").open("rb") as file:
        (sample,) = TarContent("00000").samples(file)
    assert sample.key == safe_key(Path(name).stem)
    assert list(members(tmp_path / "tars").values()) == [b"1", b"2"]


def test_keys_of_different_names_differ():
    names = ["a.b", "a%2Eb", "a%b", "a%25b", "a", "d.e/a"]
    assert len({safe_key(name) for name in names}) == len(names)


def test_the_shards_may_lie_inside_the_folder(tmp_path):
    photographs(tmp_path)
    pack(tmp_path, tmp_path / "tars", 5)
    before = shards(tmp_path / "tars")
    pack(tmp_path, tmp_path / "tars", 5)
    assert shards(tmp_path / "tars") == before


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(PackError, match="holds no image file and no Parquet"):
        pack(tmp_path / "photos", tmp_path / "tars", 5)


IMAGES = [_jpeg(crop.image, quality=20) for crop in crops()[:5]]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("jpg", IMAGES),
        ("image", [{"bytes": data, "path": f"{i}.jpg"} for i, data in enumerate(IMAGES)]),
    ],
)
def test_rows_of_parquet_are_samples(tmp_path, column, values):
    folder = tmp_path / "rows"
    folder.mkdir()
    columns = {"url": [f"u{i}" for i in range(5)], "TEXT": list("abcde"), "blob": [b"\0"] * 5}
    table = pa.table(columns | {column: values})
    pq.write_table(table, folder / "part.0.parquet", row_group_size=2)
    pack(folder, tmp_path / "tars", 2)
    with (tmp_path / "tars/00000.tar").open("rb") as file:
        samples = list(TarContent("00000").samples(file))
    assert [sample.key for sample in samples] == [f"part%2E0/{i:09d}" for i in range(2)]
    assert [sample.image.data for sample in samples] == IMAGES[:2]
    (_, second), files = samples, members(tmp_path / "tars")
    assert [files[sample.caption.name] for sample in samples] == [b"a", b"b"]
    about = json.loads(files[second.members[2].name])
    assert about["url"] == "u1" and about["blob"] == "00"
    assert about.get("image") == (None if column == "jpg" else {"path": "1.jpg"})
    (tmp_path / "tars/00002.tar").unlink()  # as if killed
    expected = shards(tmp_path / "tars")
    pack(folder, tmp_path / "tars", 2)
    assert shards(tmp_path / "tars").items() > expected.items()
    assert len(members(tmp_path / "tars")) == 15


def test_parquet_without_images_or_damaged_is_refused_by_name(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    pq.write_table(pa.table({"a": [b"no image"], "b": ["x"]}), folder / "x.parquet")
    with pytest.raises(PackError, match=r"x.parquet: no column .* got a \(binary\), b \(string\)"):
        pack(folder, tmp_path / "tars", 5)
    (folder / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(PackError, match=r"x.parquet can't be read as Parquet"):
        pack(folder, tmp_path / "tars", 5)


def test_rows_without_an_image_keep_what_they_have(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    table = pa.table({"image": [IMAGES[0], None, b"not an image"], "text": [None, "b", "c"]})
    pq.write_table(table, folder / "x.parquet")
    pack(folder, tmp_path / "tars", 5)
    assert {name: len(data) for name, data in members(tmp_path / "tars").items()} == {
        "x/000000000.jpg": len(IMAGES[0]),
        "x/000000001.txt": 1,
        "x/000000002.jpg": 12,
        "x/000000002.txt": 1,
    }


def test_what_is_no_file_and_what_a_link_leads_to_is_named_not_lost(tmp_path, capsys):
    folder = tmp_path / "photos"
    photographs(folder, 2)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "x.jpg").mkdir()
    (folder / "x.jpg/in.jpg").write_bytes(b"1")
    (folder / "a/linked.jpg").symlink_to("photo 1.JPG")
    (folder / "a/photo 1").write_bytes(b"no extension")
    pack(folder, tmp_path / "tars", 100)
    printed = capsys.readouterr().out
    assert "7 files belong to no image" in printed.replace("\n", " ")
    names = members(tmp_path / "tars").keys()
    assert {"x.jpg/in.jpg", "a/linked.jpg"} <= names
    assert not any("photo 1.photo" in name for name in names)


def test_a_caption_that_comes_later_with_an_old_time_is_seen(tmp_path):
    folder = tmp_path / "photos"
    photographs(folder, 2)
    pack(folder, tmp_path / "tars", 100)
    (folder / "a/photo 1.cls").write_text("7")
    os.utime(folder / "a/photo 1.cls", (1, 1))
    with pytest.raises(PackError, match=r"1 samples were changed .*a/photo 1"):
        pack(folder, tmp_path / "tars", 100)


def test_parquet_that_was_rewritten_is_refused_and_a_new_file_is_packed(tmp_path):
    folder, into = tmp_path / "rows", tmp_path / "tars"
    folder.mkdir()
    pq.write_table(pa.table({"image": IMAGES[:2]}), folder / "x.parquet")
    pack(folder, into, 5)
    pq.write_table(pa.table({"image": IMAGES[2:]}), folder / "y.parquet")
    pack(folder, into, 5)
    assert sorted(members(into)) == [
        *(f"x/{i:09d}.jpg" for i in range(2)),
        *(f"y/{i:09d}.jpg" for i in range(3)),
    ]
    before = shards(into)
    pq.write_table(pa.table({"image": IMAGES[1:3]}), folder / "x.parquet")
    with pytest.raises(PackError, match=r"1 Parquet files were changed .*\(x.parquet\)"):
        pack(folder, into, 5)
    assert shards(into) == before


def test_a_damaged_record_is_named(tmp_path):
    photographs(tmp_path / "photos")
    pack(tmp_path / "photos", tmp_path / "tars", 5)
    (tmp_path / "tars/.pack.json").write_text("{")
    with pytest.raises(PackError, match=r"\.pack\.json is damaged"):
        pack(tmp_path / "photos", tmp_path / "tars", 5)


def test_names_that_are_no_utf8_are_written_so(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / os.fsdecode(b"x\xff.jpg")).write_bytes(b"1")
    (folder / "x%FF.jpg").write_bytes(b"2")
    pack(folder, tmp_path / "tars", 5)
    assert members(tmp_path / "tars") == {"x%25FF.jpg": b"2", "x%FF.jpg": b"1"}


@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "a.txt", "a.TXT"],
        ["x.parquet", "x.PARQUET"],
        ["x.parquet", "x/000000000.jpg"],
    ],
)
def test_what_would_be_one_member_or_one_sample_is_refused(tmp_path, names):
    folder = tmp_path / "photos"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"1")
        if name.lower().endswith("parquet"):
            pq.write_table(pa.table({"image": IMAGES[:1]}), folder / name)
    with pytest.raises(PackError, match="rename all but one of each"):
        pack(folder, tmp_path / "tars", 5)
    assert shards(tmp_path / "tars") == {}


def test_parquet_without_rows_or_with_nothing_but_null_holds_nothing_up(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    empty = pa.table({"image": pa.array([], pa.binary())})
    pq.write_table(empty, folder / "a.parquet")
    null = pa.table({"image": pa.array([None], pa.binary()), "x": [float("nan")]})
    pq.write_table(null, folder / "b.parquet")
    pq.write_table(pa.table({"image": IMAGES[:1]}), folder / "c.parquet")
    pack(folder, tmp_path / "tars", 5)
    found = members(tmp_path / "tars")
    assert found == {"b/000000000.json": b'{"x": null}', "c/000000000.jpg": IMAGES[0]}


def test_columns_of_one_name_are_refused(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    table = pa.Table.from_arrays([pa.array(IMAGES[:1])] * 2, names=["t", "t"])
    pq.write_table(table, folder / "x.parquet")
    with pytest.raises(PackError, match="columns of one name: t"):
        pack(folder, tmp_path / "tars", 5)


def test_a_shard_that_was_cut_is_named(tmp_path):
    photographs(tmp_path / "photos")
    pack(tmp_path / "photos", tmp_path / "tars", 5)
    path = tmp_path / "tars/00000.tar"
    path.write_bytes(path.read_bytes()[:1024])  # between two members, it may be
    with pytest.raises(PackError, match=r"00000\.tar can't be read as a tar"):
        pack(tmp_path / "photos", tmp_path / "tars", 5)


def test_the_folder_itself_is_no_place_for_the_shards(tmp_path):
    photographs(tmp_path)
    with pytest.raises(PackError, match="name another --into"):
        pack(tmp_path, tmp_path, 5)


def test_rows_that_changed_where_the_footer_does_not_are_seen(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    path, noise = folder / "x.parquet", np.random.default_rng(0)
    images = [b"\xff\xd8\xff" + noise.bytes(9_000) for _ in range(20)]
    pq.write_table(pa.table({"image": images}), path, compression="NONE", write_statistics=False)
    pack(folder, tmp_path / "tars", 50)
    stat, data = path.stat(), bytearray(path.read_bytes())
    at = data.index(images[0])
    data[at + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(PackError, match="1 Parquet files were changed"):
        pack(folder, tmp_path / "tars", 50)
    data[at + 100] ^= 1
    path.write_bytes(data)
    assert path.stat().st_mtime_ns != stat.st_mtime_ns
    pack(folder, tmp_path / "tars", 50)  # touched, with the same bytes


def test_a_folder_that_was_moved_goes_on_and_one_that_was_emptied_begins_anew(tmp_path):
    photographs(tmp_path / "m/photos")
    pack(tmp_path / "m/photos", tmp_path / "m/tars", 5)
    before = shards(tmp_path / "m/tars")
    (tmp_path / "m").rename(tmp_path / "n")
    (tmp_path / "n/photos/new.jpg").write_bytes(b"1")
    pack(tmp_path / "n/photos", tmp_path / "n/tars", 5)
    assert shards(tmp_path / "n/tars").items() > before.items()
    for path in (tmp_path / "n/tars").glob("*.tar"):
        path.unlink()
    pack(tmp_path / "n/photos", tmp_path / "n/tars", 3)
    assert len(shards(tmp_path / "n/tars")) == 3


def test_two_at_once_do_not_write_over_each_other(tmp_path):
    photographs(tmp_path / "photos")
    (tmp_path / "tars").mkdir()
    with (tmp_path / "tars/.pack.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PackError, match="another `curate pack` writes to"):
            pack(tmp_path / "photos", tmp_path / "tars", 5)
    assert shards(tmp_path / "tars") == {}
