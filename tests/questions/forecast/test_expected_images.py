"""How many images are guessed to be embedded and to be copied, before any tar is read."""

import pytest
from tar_files import write_members

from curator_assets.questions.forecast.expected_images import (
    expected_images,
    images_per_byte,
    looked_at_images_per_byte,
)
from curator_assets.questions.forecast.ranges import Range
from curator_assets.questions.forecast.stored_embeddings import EmbeddedTar, StoredEmbeddings
from curator_assets.questions.forecast.stored_images import ADDED_TO, SAME, Likely
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store

PER_BYTE = Range(0.009, 0.011)


@pytest.fixture
def embedded(tmp_path):
    def embedded(shard, n_bytes, n_images, *, is_whole=True, is_alike=True) -> EmbeddedTar:
        store = Store(str(tmp_path))
        return EmbeddedTar(shard, store, n_bytes, n_images, n_images * 10, is_whole, is_alike)

    return embedded


def expected(sizes, there=(), gone=(), likely={}):  # noqa: B006
    stored = StoredEmbeddings({one.shard: one for one in there}, tuple(gone))
    found = expected_images(list(sizes), sizes, stored, PER_BYTE, likely)
    return found.n_images, found.n_encoded, found.n_reused


def test_with_nothing_stored_all_is_encoded():
    assert expected({"a": 10_000}) == (Range(90, 110), Range(90, 110), Range(0, 0))


def test_new_names_are_mostly_new(embedded):
    n_images, n_encoded, n_reused = expected({"b": 100_000}, [embedded("a", 50_000, 500)])
    assert n_images == Range(900, 1100)
    assert n_encoded.low < 900 and n_encoded.high == 1100
    assert n_reused.low == 0 and 0 < n_reused.high < 100


def test_new_names_may_hold_what_gone_tars_held(embedded):
    gone = [embedded("a", 50_000, 500)]
    _, n_encoded, n_reused = expected({"b": 100_000}, gone=gone)
    assert n_reused == Range(0, 500)
    assert n_encoded.low <= 500 and n_encoded.high == 1100
    others = [embedded("a", 50_000, 500, is_alike=False)]
    assert expected({"b": 100_000}, gone=others)[2] == Range(0, 0)


def test_a_tar_under_another_name_is_mostly_copied(embedded):
    stored = embedded("a", 50_000, 500)
    n_images, n_encoded, n_reused = expected(
        {"b": 50_000}, [stored], likely={"b": Likely(stored, SAME)}
    )
    assert n_images == Range.of(500)
    assert n_encoded == Range(0, 50)
    assert n_reused == Range(450, 500)


def test_of_a_tar_that_was_added_to_no_more_is_copied_than_was_stored(embedded):
    stored = embedded("a", 50_000, 500)
    n_images, n_encoded, n_reused = expected(
        {"a": 100_000}, [stored], likely={"a": Likely(stored, ADDED_TO)}
    )
    assert n_images == Range(900, 1100)
    assert n_reused == Range(250, 500)
    assert n_encoded == Range(400, 850)


def test_another_model_copies_nothing_of_as_many_images_as_were_counted(embedded):
    stored = embedded("a", 50_000, 487, is_alike=False)
    assert expected({"a": 50_000}, [stored]) == (Range.of(487), Range.of(487), Range.of(0))


def test_a_lost_table_can_not_be_copied(embedded):
    stored = embedded("a", 50_000, 487, is_whole=False)
    assert expected({"a": 50_000}, [stored])[1] == Range.of(487)


def test_images_a_byte_are_those_of_all_tars_that_are_known(embedded):
    assert images_per_byte(StoredEmbeddings({}, ())) is None
    there = {str(n): embedded(str(n), 1000, n) for n in range(95, 107, 2)}
    found = images_per_byte(StoredEmbeddings(there, ()))
    assert found.low <= 0.095 < 0.105 <= found.high
    one = images_per_byte(StoredEmbeddings({"95": there["95"]}, ()))
    assert one.high - one.low > found.high - found.low  # one tells less


def test_with_nothing_known_a_few_tars_are_looked_at(tmp_path):
    for name in "abcdefgh":
        write_members(tmp_path / f"{name}.tar", [(f"{i}.jpg", bytes(3000)) for i in range(300)])
    (tmp_path / "e.tar").write_bytes(b"no tar")
    found = looked_at_images_per_byte(Source(str(tmp_path)), list("abcdefgh"))
    size = (tmp_path / "a.tar").stat().st_size
    assert found.low < 300 / size < found.high
    assert looked_at_images_per_byte(Source(str(tmp_path)), ["e"]) is None
    assert looked_at_images_per_byte(Source(str(tmp_path)), []) is None
