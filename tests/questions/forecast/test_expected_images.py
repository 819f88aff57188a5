"""How many images are guessed to be embedded and to be copied, before any tar is read."""

from tar_files import write_members

from curator_assets.questions.forecast.expected_images import (
    N_BYTES_LOOKED_AT,
    expected_images,
    images_per_byte,
    looked_at_images_per_byte,
)
from curator_assets.questions.forecast.ranges import Range
from curator_assets.questions.forecast.stored_embeddings import EmbeddedTar, StoredEmbeddings
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import TarContent

PER_BYTE = Range(0.009, 0.011)


def embedded(n_bytes: int, n_images: int, *, is_usable: bool = True) -> EmbeddedTar:
    return EmbeddedTar(n_bytes, n_images, n_images * 10, is_usable)


def expected(sizes, there={}, gone=()):  # noqa: B006
    found = expected_images(list(sizes), sizes, StoredEmbeddings(there, tuple(gone)), PER_BYTE)
    return found.n_images, found.n_encoded, found.n_reused


def test_with_nothing_stored_all_is_encoded():
    assert expected({"a": 10_000}) == (Range(90, 110), Range(90, 110), Range(0, 0))


def test_new_names_are_mostly_new():
    n_images, n_encoded, n_reused = expected({"b": 100_000}, {"a": embedded(50_000, 500)})
    assert n_images == Range(900, 1100)
    assert n_encoded.low < 900 and n_encoded.high == 1100
    assert n_reused.low == 0 and 0 < n_reused.high < 100
    assert expected({"b": 50_000}, {"a": embedded(50_000, 500)})[1].expected > 450  # of its size


def test_new_names_may_hold_what_gone_tars_held():
    _, n_encoded, n_reused = expected({"b": 100_000}, gone=[embedded(50_000, 500)])
    assert n_reused == Range(0, 500)
    assert n_encoded.low <= 500 and n_encoded.high == 1100
    others = [embedded(50_000, 500, is_usable=False)]
    assert expected({"b": 100_000}, gone=others)[2] == Range(0, 0)


def test_a_tar_of_the_size_of_a_gone_one_is_likely_copied():
    n_images, n_encoded, n_reused = expected({"b": 50_000}, gone=[embedded(50_000, 500)])
    assert n_images == Range.of(500)
    assert (n_encoded, n_encoded.expected) == (Range(0, 500), 0)
    assert (n_reused, n_reused.expected) == (Range(0, 500), 500)


def test_a_gone_tar_is_only_one_of_those_of_its_size():
    sizes = {str(n): 50_000 for n in range(100)}
    _, n_encoded, n_reused = expected(sizes, gone=[embedded(50_000, 500)] * 2)
    assert n_reused.expected < 0.1 * n_encoded.expected


def test_a_tar_that_was_touched_is_likely_copied():
    found = expected({"a": 50_000}, {"a": embedded(50_000, 487)})
    assert found == (Range.of(487), Range(0, 487), Range(0, 487))
    assert [n.expected for n in found] == [487, 0, 487]


def test_of_a_tar_that_was_added_to_no_more_is_copied_than_was_stored():
    n_images, n_encoded, n_reused = expected({"a": 100_000}, {"a": embedded(50_000, 500)})
    assert n_images == Range(900, 1100)
    assert n_reused == Range(250, 500)
    assert n_encoded == Range(400, 850)


def test_what_can_not_be_used_is_computed_again():
    there = {"a": embedded(50_000, 487, is_usable=False)}
    assert expected({"a": 50_000}, there) == (Range.of(487), Range.of(487), Range.of(0))


def test_images_a_byte_are_those_of_all_tars_that_are_known():
    assert images_per_byte(StoredEmbeddings({}, ())) is None
    there = {str(n): embedded(1000, n) for n in range(95, 107, 2)}
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


def test_of_large_images_few_are_looked_at(tmp_path, monkeypatch):
    image = bytes(N_BYTES_LOOKED_AT // 4)
    write_members(tmp_path / "a.tar", [(f"{i}.jpg", image) for i in range(12)])
    read = []
    samples = TarContent.samples

    def counted(*args):
        for sample in samples(*args):
            read.append(sample)
            yield sample

    monkeypatch.setattr(TarContent, "samples", counted)
    assert looked_at_images_per_byte(Source(str(tmp_path)), ["a"]).low * len(image) < 1
    assert len(read) <= 5
