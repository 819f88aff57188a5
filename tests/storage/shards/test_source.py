import io
import os
import tarfile

import pytest

from curator_assets.storage.shards.listing import Listing, changes
from curator_assets.storage.shards.source import Source


def test_shards_are_paths_below_the_source_without_tar(tmp_path):
    for name in ("b.tar", "a/00000.tar", "a/notes.txt", "a/.00001.tar", "c.tar.gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert list(Source(str(tmp_path)).list_shards()) == ["a/00000", "b"]


def test_a_signature_changes_with_size_or_time(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"x")
    source = Source(str(tmp_path))
    before = source.signature("a")
    assert source.list_shards() == {"a": before}
    os.utime(path, (1, 1))
    assert source.signature("a") != before


def test_a_missing_source_or_tar_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="set 'source'"):
        Source(str(tmp_path / "none")).list_shards()
    with pytest.raises(FileNotFoundError, match="shard 'a': no tar at"):
        Source(str(tmp_path)).signature("a")


def test_only_tars_that_end_as_tars_end_are_whole(tmp_path):
    whole = io.BytesIO()
    tarfile.open(fileobj=whole, mode="w").close()
    member = b"x" * 512
    contents = {
        "whole": member + whole.getvalue(),
        "cut": member,
        "one_end_block": member + bytes(512),
        "odd": whole.getvalue()[:-1],
        "empty": b"",
    }
    for name, data in contents.items():
        (tmp_path / f"{name}.tar").write_bytes(data)
    source = Source(str(tmp_path))
    assert list(source.whole(source.list_shards(), None)) == [["one_end_block", "whole"]]
    (tmp_path / "cut.tar.done").touch()
    assert list(source.whole(source.list_shards(), ".done")) == [["cut"]]


def test_a_tar_that_vanished_since_it_was_listed_is_not_whole(tmp_path):
    tarfile.open(tmp_path / "a.tar", "w").close()
    source = Source(str(tmp_path))
    listed = source.list_shards()
    (tmp_path / "a.tar").unlink()
    assert list(source.whole(listed, None)) == [[]]


def test_looking_at_tars_stops_when_the_time_is_up_and_goes_on_next_time(tmp_path, monkeypatch):
    monkeypatch.setattr("curator_assets.storage.shards.source._WHOLE_BLOCK", 2)
    for name in "abcde":
        tarfile.open(tmp_path / f"{name}.tar", "w").close()
    source = Source(str(tmp_path))
    now = source.list_shards()
    seen = Listing(now, {})
    first = changes(seen, now, source, marker=None, max_seconds=0)
    assert (first.ready, first.arriving) == (["a", "b"], ["c", "d", "e"])
    seen = Listing(now, {shard: now[shard] for shard in first.ready})
    assert changes(seen, now, source, marker=None, max_seconds=0).ready == ["c", "d"]
