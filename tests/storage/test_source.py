import os

import pytest

from curator_assets.storage.source import Source


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
