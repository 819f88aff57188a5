"""What of new tars seems to be stored already, by their sizes and first images."""

import pytest
from tar_files import write_members

from curator_assets.questions.forecast import stored_images
from curator_assets.questions.forecast.stored_embeddings import EmbeddedTar, StoredEmbeddings
from curator_assets.questions.forecast.stored_images import (
    ADDED_TO,
    N_TARS_COMPARED,
    OTHER,
    SAME,
    likely_stored,
)
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store

MANY = [f"new/{i:03}" for i in range(3 * N_TARS_COMPARED)]


@pytest.fixture
def stored(tmp_path) -> StoredEmbeddings:
    one = EmbeddedTar("old", Store(str(tmp_path)), 100, 10, 1000, True, True)
    return StoredEmbeddings({"old": one}, ())


@pytest.fixture
def begin_alike(monkeypatch):
    """Says of which shards the first image is one that is stored; counts those looked at."""
    looked = []

    def begin_alike(*shards: str) -> list[str]:
        def of_first_image(shard, candidates, _):
            looked.append(shard)
            return candidates[0] if shard in shards else None

        monkeypatch.setattr(stored_images, "_of_first_image", of_first_image)
        return looked

    return begin_alike


def shares(shards, n_bytes, stored, tmp_path):
    found = likely_stored(shards, dict.fromkeys(shards, n_bytes), stored, Source(str(tmp_path)))
    return {shard: likely.share for shard, likely in found.items()}


def test_a_tar_of_the_size_and_first_image_is_that_one(stored, begin_alike, tmp_path):
    begin_alike("a")
    assert shares(["a", "b"], 100, stored, tmp_path) == {"a": SAME}
    assert shares(["a"], 101, stored, tmp_path) == {}


def test_a_tar_of_the_same_name_was_added_to_or_replaced(stored, begin_alike, tmp_path):
    begin_alike("old")
    assert shares(["old"], 300, stored, tmp_path) == {"old": ADDED_TO}
    begin_alike()
    assert shares(["old"], 300, stored, tmp_path) == {"old": OTHER}


def test_of_many_a_few_are_looked_at(stored, begin_alike, tmp_path):
    looked = begin_alike(*MANY)
    assert shares(MANY, 100, stored, tmp_path) == dict.fromkeys(MANY, SAME)
    assert len(looked) <= N_TARS_COMPARED
    begin_alike()
    assert shares(MANY, 100, stored, tmp_path) == {}
    begin_alike(*MANY[: len(MANY) // 2])
    assert set(shares(MANY, 100, stored, tmp_path).values()) == {SAME, OTHER}


def test_a_tar_that_can_not_be_read_seems_new(stored, tmp_path):
    write_members(tmp_path / "a.tar", [("a.jpg", b"x"), ("b.jpg", b"x"), ("a.txt", b"x")])
    (tmp_path / "b.tar").write_bytes(b"no tar")
    assert shares(["a", "b", "gone"], 100, stored, tmp_path) == {}
