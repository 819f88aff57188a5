import io
import tarfile

import pytest
import webdataset as wds

from curator_assets.storage.shards.tars import BrokenTarError, TarContent, write_tar


def tar_bytes(*members: tuple[str, bytes], mtime: int = 0) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def read(data: bytes):
    content = TarContent("shard")
    return list(content.samples(io.BytesIO(data))), content


MEMBERS = [("a.jpg", b"1"), ("a.txt", b"22"), ("dir.v1/b.cls.png", b"333"), ("dir.v1/b.json", b"4")]


def test_adjacent_members_with_one_key_are_a_sample():
    samples, _ = read(tar_bytes(*MEMBERS))
    assert [(s.key, s.position, [m.ext for m in s.members]) for s in samples] == [
        ("a", 0, ["jpg", "txt"]),
        ("dir.v1/b", 1, ["cls.png", "json"]),
    ]
    assert samples[0].image.data == b"1"
    assert samples[0].caption.n_bytes == 2


def test_the_plain_image_is_preferred_to_a_mask_before_it():
    samples, _ = read(tar_bytes(("a.mask.png", b"m"), ("a.jpg", b"i"), ("b.txt", b"t")))
    assert samples[0].image.name == "a.jpg"
    assert samples[0].n_images == 2
    assert [member.data for member in samples[0].members] == [None, b"i"]
    assert samples[1].image is None


def test_fingerprint_is_of_content_not_of_headers():
    _, one = read(tar_bytes(*MEMBERS, mtime=0))
    _, touched = read(tar_bytes(*MEMBERS, mtime=99))
    _, changed = read(tar_bytes(*MEMBERS[:-1], ("dir.v1/b.json", b"5")))
    _, moved = read(tar_bytes(*reversed(MEMBERS)))
    assert one.fingerprint == touched.fingerprint
    assert len({one.fingerprint, changed.fingerprint, moved.fingerprint}) == 3


def test_members_without_a_key_are_reported_not_lost():
    samples, content = read(tar_bytes(("README", b"x"), *MEMBERS))
    assert {why: found.names for why, found in content.left_out.items()} == {
        "no extension": ["README"]
    }
    assert len(samples) == 2


@pytest.mark.parametrize("n_bytes", [700, 512 * 3, 512 * 2, 10])
def test_a_cut_tar_is_refused_wherever_it_is_cut(n_bytes):
    whole = tar_bytes(("a.jpg", b"x" * 600), ("b.jpg", b"y" * 600))
    with pytest.raises(BrokenTarError, match="'shard'"):
        read(whole[:n_bytes])


def test_garbage_after_members_is_refused():
    whole = tar_bytes(("a.jpg", b"x"))
    with pytest.raises(BrokenTarError, match="byte 1024 is not a tar header"):
        read(whole[:1024] + b"garbage!" * 64 + whole[1536:])


def test_an_empty_file_is_refused():
    with pytest.raises(BrokenTarError):
        read(b"")


def test_a_tar_of_no_members_has_no_samples():
    assert read(tar_bytes())[0] == []


def test_a_key_that_comes_back_is_refused_naming_both_samples():
    with pytest.raises(BrokenTarError, match="samples 0 and 2 both have the key 'a'"):
        read(tar_bytes(("a.jpg", b""), ("b.jpg", b""), ("a.txt", b"")))


def test_a_repeated_member_is_refused():
    with pytest.raises(BrokenTarError, match=r"two members named 'a\.jpg'"):
        read(tar_bytes(("a.jpg", b"1"), ("a.jpg", b"2")))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset's
def test_written_tars_are_deterministic_and_hold_the_very_bytes(tmp_path):
    source = tar_bytes(*MEMBERS, ("x" * 120 + "/c.jpg", b"long"), mtime=5)
    one, two = io.BytesIO(), io.BytesIO()
    for copy in (one, two):
        members = TarContent("shard").members(io.BytesIO(source))
        write_tar(copy, ((member.name, member.n_bytes, member.reader) for member in members))
    assert one.getvalue() == two.getvalue()
    samples, content = read(source)
    assert read(one.getvalue())[1].fingerprint == content.fingerprint
    (tmp_path / "out.tar").write_bytes(one.getvalue())
    loaded = list(wds.WebDataset(str(tmp_path / "out.tar"), shardshuffle=False, empty_check=False))
    assert [s["__key__"] for s in loaded] == [s.key for s in samples]
    assert loaded[0]["txt"] == b"22"
