"""The quick way of reading a block gives what `tarfile` gives."""

import io
import struct
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator_assets.storage.shards import tar_blocks
from curator_assets.storage.shards.tar_blocks import (
    BLOCK_BYTES,
    NoHeaderError,
    first_header,
    told_by_tarfile,
    told_plainly,
)
from curator_assets.storage.shards.tar_headers import BrokenTarError, read_headers

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def block_of(name: str = "a/b.jpg", kind: int = tarfile.USTAR_FORMAT, **fields) -> bytes:
    info = tarfile.TarInfo(name)
    for field, value in {"size": 70_000, "mtime": 1_700_000_000, **fields}.items():
        setattr(info, field, value)
    return info.tobuf(kind)


def summed(block: bytearray, *, signed: bool = False) -> bytes:
    """The block with the checksum that it has now."""
    block[148:156] = b" " * 8
    total = sum(struct.unpack("512b", block)) if signed else sum(block)
    block[148:156] = b"%06o\0 " % max(total, 0)
    return bytes(block)


PLAIN = [
    *(block_of(kind=kind) for kind in FORMATS),
    block_of("p" * 90 + "/" + "n" * 95, mode=0o777, uid=1000, gid=1000, uname="a", gname="b"),
    block_of("n" * 100),
    block_of("é/ü.jpg", size=0),
    # as BSD's tar and old ones end numbers, and as GNU's leaves those of devices empty
    summed(bytearray(block_of()[:100] + b"000644 \0" * 3 + b"00000210560 " + block_of()[136:])),
    summed(bytearray(block_of()[:329] + bytes(16) + block_of()[345:])),
]
OTHERS = [
    block_of(type=tarfile.LNKTYPE, linkname="c.jpg"),
    block_of("folder", type=tarfile.DIRTYPE),
    block_of("folder/", type=tarfile.AREGTYPE),
    block_of(kind=tarfile.GNU_FORMAT, size=1 << 40, uid=1 << 30),
    summed(bytearray(block_of("\udce9.jpg")), signed=True),
]


@pytest.mark.parametrize("block", PLAIN)
def test_the_header_of_a_plain_file_is_read_without_tarfile(block):
    assert told_plainly(block) == told_by_tarfile(block)


@pytest.mark.parametrize("block", OTHERS)
def test_other_headers_are_left_to_tarfile(block):
    assert told_plainly(block) is None
    told_by_tarfile(block)


@given(st.data())
def test_a_changed_header_is_read_as_tarfile_reads_it_or_not_at_all(data):
    block = bytearray(data.draw(st.sampled_from(PLAIN + OTHERS)))
    fields = st.sampled_from([*range(100, 157), *range(257, 265), *range(329, 346)])
    some = st.one_of(st.sampled_from(b"\x00 07x/_+-o\x80\xff"), st.integers(0, 255))
    for _ in range(data.draw(st.integers(1, 4))):
        block[data.draw(st.one_of(fields, st.integers(0, 511)))] = data.draw(some)
    match data.draw(st.sampled_from(["as it is", "unsigned", "signed"])):
        case "unsigned":
            summed(block)
        case "signed":
            summed(block, signed=True)
    try:
        told = told_by_tarfile(bytes(block))
    except NoHeaderError:
        told = None
    plainly = told_plainly(bytes(block))
    if plainly is not None:
        assert told is not None
        assert plainly == told._replace(link="")


@given(st.data())
def test_the_first_header_is_found_at_whole_blocks_only(data):
    blocks = st.sampled_from([*PLAIN, *OTHERS, bytes(512), b"ustar" * 102 + b"us", bytes([9] * 9)])
    found = b"".join(data.draw(st.lists(blocks, max_size=6)))
    expected = None
    for start in range(0, len(found), BLOCK_BYTES):
        block = found[start : start + BLOCK_BYTES]
        with suppress(NoHeaderError):
            if expected is None and block[257:262] == b"ustar" and told_by_tarfile(block):
                expected = start
    assert first_header(found) == expected


WRITE_CASES = """
import contextlib, os, pathlib, sys
sys.path.insert(0, "")
import hostile, tars
for name, data in hostile.cases.items():
    pathlib.Path(sys.argv[1], name + ".tar").write_bytes(data)
for name, write in tars.CASES.items():
    os.mkdir(os.path.join(sys.argv[1], name))
    with contextlib.suppress(ImportError):  # what encodes a few odd images
        write(os.path.join(sys.argv[1], name))
"""


def test_real_and_hostile_tars_are_read_alike_both_ways(shared_data, tmp_path, monkeypatch):
    command = [sys.executable, "-W", "ignore", "-c", WRITE_CASES, str(tmp_path)]
    subprocess.run(command, cwd=shared_data / "cases", check=True, timeout=120)
    paths = sorted(path for path in tmp_path.rglob("*.tar") if path.is_file())
    assert len(paths) > 60
    found = {path: told_of(path) for path in paths}
    monkeypatch.setattr(tar_blocks, "told_plainly", lambda block: None)
    assert {path: told_of(path) for path in paths} == found


def told_of(path: Path) -> list[object]:
    """Every header of a tar, and why there are no more."""
    found: list[object] = []
    try:
        found.extend(read_headers(io.BytesIO(path.read_bytes()), path.name))
    except BrokenTarError as error:
        found.append(str(error))
    return found
