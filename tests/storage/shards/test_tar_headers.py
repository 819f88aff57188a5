"""Tars as people, tools and attackers make them."""

import io
import tarfile
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from curator_assets.control_characters import escaped_bytes
from curator_assets.storage.shards.tars import (
    BrokenTarError,
    TarContent,
    split_name,
    write_tar,
)

END, LONG = bytes(1024), b"././@LongLink"


def header(
    name: bytes, size: int = 0, kind: bytes = b"0", *, field: bytes = b"", link: bytes = b""
):
    """A ustar header; `field` is the size as it is to be written."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    block[124:136] = field or b"%011o\0" % size
    block[136:148] = b"%011o\0" % 0
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes) -> bytes:
    return header(name, len(data)) + padded(data)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    lines = b""
    for key, value in records:
        line = b" " + key + b"=" + value + b"\n"
        n = len(line) + len(str(len(line)))
        n += len(str(n)) - len(str(len(line)))
        lines += b"%d" % n + line
    return header(b"pax", len(lines), kind) + padded(lines)


def base256(number: int) -> bytes:
    return (b"\xff" if number < 0 else b"\x80") + (number % (1 << 88)).to_bytes(11, "big")


ZZ = b"Z" * 600
A, Z = member(b"a.jpg", b"AAA"), member(b"z.jpg", ZZ)


def read(data: bytes) -> tuple[list[tuple[str, bytes]], dict[str, list[str]]]:
    """Key and image of each sample, and the names of what is left out, by reason."""
    content = TarContent("shard")
    samples = [(s.key, s.image.data if s.image else b"") for s in content.samples(io.BytesIO(data))]
    assert all(data is not None for _, data in samples)
    return samples, {why: found.names for why, found in content.left_out.items()}


AZ = [("a", b"AAA"), ("z", ZZ)]


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (A + END + Z + END, "ends at byte 1024, but byte 2048 is not zero"),
        (A + END + bytes(8192) + Z + END, "but byte 10240 is not zero"),
        (A + bytes(512) + Z[512:] + END, "but byte 1536 is not zero"),
        (A + Z + END + b"\1", "is not zero"),
        (A + Z[:-500], "'z.jpg' at byte 1024 claims 600 bytes"),
        (A + Z, "without an end-of-archive block"),
        (A + Z + bytes(100), "without an end-of-archive block"),
        (b"", "ends at byte 0 without"),
        (A + b"garbage!" * 64 + Z + END, "byte 1024 is not a tar header"),
        (A + header(b"n.jpg", field=base256(-512)) + Z + END, "claims -512 bytes"),
        (A + header(b"noext", field=base256(-512)) + Z + END, "claims -512 bytes"),
        (A + header(b"n.jpg", field=base256(1 << 60)) + Z + END, "claims 1152921504606846976"),
        (A + header(LONG, 0, b"L", field=base256(-512)) + Z + END, "claims -512 bytes"),
        (A + header(LONG, 3 << 20, b"L") + bytes(3 << 20) + Z + END, "expected at most 1048576"),
        (A + header(b"n.txt", 5, b"L") + padded(b"words") + Z + END, "its type is damaged"),
        (A + header(b"n.txt", 5, b"K") + padded(b"words") + Z + END, "its type is damaged"),
        (A + pax((b"size", b"9" * 30)) + Z + END, "gives its size as b'999"),
        (A + pax((b"size", b"-512")) + Z + END, "gives its size as b'-512'"),
        (A + pax((b"size", b"nan")) + Z + END, "gives its size as b'nan'"),
        (A + header(b"p", 20, b"x") + padded(b"0 path=x\n0 path=y\n..") + Z + END, "is damaged"),
        (A + header(b"p", 20, b"x") + padded(b"99999999 path=x\n....") + Z + END, "is damaged"),
        (A + header(b"p", 20, b"x") + padded(b"17 nothing equals\n..") + Z + END, "is damaged"),
    ],
)
def test_what_is_no_whole_tar_is_refused_with_the_place(data, where):
    with pytest.raises(BrokenTarError, match="shard 'shard'") as raised:
        read(data)
    assert where in str(raised.value)


@pytest.mark.parametrize(
    "data",
    [
        A + Z + END,
        A + Z + bytes(512),  # one end block
        A + Z + END + bytes(1 << 20),
        A + Z + END + bytes(100),
        A + header(b"folder/", kind=b"5") + Z + END,
        A + pax((b"mtime", b"1.5")) + Z + END,
        A + pax((b"mtime", b"1")) * 3000 + Z + END,
        A + pax((b"comment", b"x" * 9000), kind=b"g") + Z + END,
        A + header(LONG, 600, b"L") + padded(b"z.jpg" + bytes(595)) + member(b"cut", ZZ) + END,
        A + pax((b"path", b"z.jpg"), (b"size", b"600")) + header(b"cut", 9) + padded(ZZ) + END,
        A + header(b"z.jpg", 600, b"7") + padded(ZZ) + END,
        A + header(b"z.jpg", 600, b"\0") + padded(ZZ) + END,
    ],
)
def test_what_is_a_whole_tar_is_read(data):
    assert read(data) == (AZ, {})


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (b"2", "symbolic link"),
        (b"3", "device"),
        (b"4", "device"),
        (b"6", "named pipe"),
        (b"V", "unknown type 'V'"),
    ],
)
def test_what_is_no_file_is_refused_by_name(kind, why):
    data = A + header(b"b.jpg", 0, kind, link=b"/etc/passwd") + Z + END
    assert read(data) == (AZ, {why: ["b.jpg"]})


@pytest.mark.parametrize(
    "sparse",
    [
        pax(
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.name", b"s.jpg"),
            (b"GNU.sparse.realsize", b"9"),
        )
        + member(b"GNUSparseFile.1/s.jpg", b"x" * 700),
        pax((b"GNU.sparse.map", b"0,512"), (b"GNU.sparse.size", b"%d" % (200 << 30)))
        + member(b"s.jpg", b"x" * 512),
        # GNU's own: two blocks of a further map between the header and the data
        header(b"s.jpg", 700, b"S")[:482] + b"\1" + header(b"s.jpg", 700, b"S")[483:],
    ],
)
def test_sparse_files_are_refused_as_members(sparse):
    if b"GNU" not in sparse:
        block = bytearray(sparse)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        sparse = bytes(block) + bytes(504) + b"\1" + bytes(7) + bytes(512) + padded(b"x" * 700)
    assert read(A + sparse + Z + END) == (AZ, {"sparse file": ["s.jpg"]})


def test_hard_links_are_the_files_they_mean_earlier_and_later():
    data = (
        header(b"l.jpg", 0, b"1", link=b"z.jpg")
        + header(b"k.jpg", 0, b"1", link=b"l.jpg")
        + A
        + header(b"b.jpg", 600, b"1", link=b"a.jpg")
        + member(b"b.txt", b"words")
        + Z
        + header(b"m.jpg", 0, b"1", link=b"z.jpg")
        + END
    )
    z = b"Z" * 600
    found = [("l", z), ("k", z), ("a", b"AAA"), ("b", b"AAA"), ("z", z), ("m", z)]
    assert read(data) == (found, {})
    content, copy = TarContent("shard"), io.BytesIO()
    members = content.members(io.BytesIO(data))
    write_tar(copy, ((member.name, member.n_bytes, member.reader) for member in members))
    with tarfile.open(fileobj=io.BytesIO(copy.getvalue())) as tar:
        assert all(info.isreg() for info in tar)
    assert read(copy.getvalue()) == (found, {})
    again = TarContent("shard")
    places = {s.key: s.position for s in again.samples(io.BytesIO(data))}
    assert {p.position: data[p.offset : p.offset + p.n_bytes] for p in again.images} == {
        places[key]: image for key, image in found
    }


def test_hard_links_to_nothing_and_in_circles_are_refused_by_name():
    links = [
        header(b"%d.jpg" % i, 0, b"1", link=b"%d.jpg" % ((i + 1) % 2000)) for i in range(2000)
    ] + [header(b"n.jpg", 0, b"1", link=b"/elsewhere"), header(b"f.jpg", 0, b"1", link=b"d")]
    data = A + header(b"d/", kind=b"5") + b"".join(links) + Z + END
    samples, left_out = read(data)
    assert samples == AZ
    assert left_out == {"hard link to what is not in this tar": [f"{i}.jpg" for i in range(10)]}


@pytest.mark.parametrize(
    "name",
    [
        "._a.jpg",
        "p/._a.jpg",
        "p/.DS_Store",
        ".jpg",
        "__MACOSX/p/a.jpg",
        "__MACOSX/._p",
        "p/.a.b.jpg",
    ],
)
def test_what_systems_put_beside_files_is_stray(name):
    assert read(A + member(name.encode(), b"x") + Z + END) == (AZ, {"hidden file": [name]})


@pytest.mark.parametrize("as_pax", [False, True])
def test_names_that_are_not_utf8_are_escaped_and_come_out_with_their_bytes(as_pax):
    name = b"d\xe9/caf\xe9.J\xc9"
    named = pax((b"hdrcharset", b"BINARY"), (b"path", name)) if as_pax else b""
    data = A + named + member(b"x" if as_pax else name, b"E") + Z + END
    content, copy = TarContent("shard"), io.BytesIO()
    members = list[str]()

    def kept():
        for found in content.members(io.BytesIO(data)):
            members.append(f"{found.key}|{found.ext}")
            yield found.name, found.n_bytes, found.reader

    write_tar(copy, kept())
    assert members == ["a|jpg", r"d\xe9/caf\xe9|j\xc9", "z|jpg"]
    with tarfile.open(fileobj=io.BytesIO(copy.getvalue())) as tar:
        assert [info.name.encode(errors="surrogateescape") for info in tar][1] == name
    again = TarContent("shard")
    assert [found.key for found in again.members(io.BytesIO(copy.getvalue()))][
        1
    ] == r"d\xe9/caf\xe9"
    assert again.fingerprint == content.fingerprint


@pytest.mark.parametrize(
    ("name", "n_lost"),
    [
        *product([b"n.jpg", b"n.txt", b"n.json", b"n.bin", b"noext", b"._n.jpg"], range(4)),
        *product([b"n.tar"], range(3)),
    ],
)
def test_a_member_that_swallows_the_next_is_refused(name, n_lost):
    data = bytes(512) + b"x" * 1000
    rest = padded(data)[n_lost * 512 :] + Z + bytes(2048)
    with pytest.raises(BrokenTarError) as raised:
        read(A + header(name, 1 + len(data) + 512 * 3) + rest + END)
    assert "swallows" in str(raised.value) or "header of another member" in str(raised.value)


@pytest.mark.parametrize("n_bytes", [1, 188, 511, 700, 1000])
def test_data_that_ends_in_the_next_header_is_refused(n_bytes):
    lost = header(b"n.jpg", n_bytes) + padded(bytes(n_bytes))[:-512]
    with pytest.raises(BrokenTarError, match="ends in the header of another member"):
        read(A + lost + Z + END)


@pytest.mark.parametrize("kind", [b"0", b"S", b"Z"])
@pytest.mark.parametrize("name", [b"README", b"._b.jpg", b"b.bin", b"b.tar", b"b.jpg"])
def test_a_size_that_ends_at_a_header_further_on_is_seen(name, kind):
    between = member(b"m.jpg", b"M" * 600)
    with pytest.raises(BrokenTarError, match="swallows the member at byte 1536"):
        read(A + header(name, len(between), kind) + between + Z + END)


def test_a_tar_in_a_tar_is_a_member_like_others():
    assert read(A + member(b"a.tar", A + Z + END) + Z + END) == (AZ, {})


def test_of_several_images_the_one_of_the_fewest_dots_decides_and_only_it_is_held():
    many = [member(b"s.%05d.jpg" % i, b"%05d" % i) for i in range(500)]
    data = b"".join([*many, member(b"s.txt", b"words"), member(b"s.png", b"decides")]) + END
    (sample,) = TarContent("shard").samples(io.BytesIO(data))
    assert (sample.image.ext, sample.image.data, sample.n_images) == ("png", b"decides", 501)
    assert [found.ext for found in sample.members if found.data is not None] == ["png"]


@given(st.text("abX./ü\n", min_size=1))
def test_names_are_split_as_webdataset_splits_them(name):
    last = name.rpartition("/")[2]
    if "\n" not in name and not last.startswith("."):
        key, ext = base_plus_ext(name)
        assert split_name(name) == (None if key is None else (key, ext.lower()))


@given(st.binary(max_size=40))
def test_any_name_becomes_utf8(name):
    escaped_bytes(name.decode("utf-8", "surrogateescape")).encode()


@given(st.data())
def test_a_changed_tar_is_read_or_refused_and_ends(data):
    link = header(b"b.jpg", 0, b"1", link=b"a.jpg")
    whole = bytearray(
        A + pax((b"path", b"p.jpg"), (b"size", b"3")) + member(b"x", b"P" * 3) + link + Z + END
    )
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    start = data.draw(st.sampled_from(range(0, len(whole), 512)))
    if data.draw(st.booleans()):  # a header that vouches for what was changed
        block = whole[start : start + 512]
        block[148:156] = b" " * 8
        whole[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try:
        read(bytes(whole))
    except BrokenTarError as error:
        assert "shard 'shard'" in str(error)
