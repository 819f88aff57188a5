"""One block of a tar, as `tarfile` reads it: nearly every one of a plain file many times as fast.

What `tarfile` alone understands (numbers in base 256, checksums over signed characters, types that
are seldom) is left to it, and what is no header it refuses. So both ways give the same.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from typing import NamedTuple

BLOCK_BYTES = tarfile.BLOCKSIZE

_MAGIC, _MAGIC_OFFSET = b"ustar", 257
_BLANK_CHECKSUM = 8 * ord(" ")

_NUMBER_OF_8 = rb"(?:[0-7]{7}[\0 ]|[0-7]{6} \0)"
_NUMBER_OF_12 = rb"[0-7]{11}[\0 ]"
_PLAIN = re.compile(
    rb"(?P<name>.{100})"
    rb"(?:%(of_8)b){3}"  # mode, owner, group
    rb"(?P<size>%(of_12)b)"
    rb"%(of_12)b"  # time
    rb"(?P<checksum>[0-7]{6}(?:\0 | \0))"
    rb"(?P<type>[0x])"  # a file, or pax records of the member after it
    rb".{100}"  # what a link leads to
    rb".{72}"  # magic, version, names of owner and group
    rb"(?:(?:%(of_8)b){2}|\0{16})"  # numbers of a device
    rb"(?P<prefix>.{155})"
    rb".{12}" % {b"of_8": _NUMBER_OF_8, b"of_12": _NUMBER_OF_12},
    re.DOTALL,
)
_SIZE_AT, _CHECKSUM_AT = slice(124, 135), slice(148, 154)


class NoHeaderError(ValueError):
    """A block is no header; says why, as `tarfile` puts it."""


class Told(NamedTuple):
    """What a header tells of its member.

    Attributes:
        name: bytes that are not UTF-8 are surrogates in it; likewise in `link`.
        type: a byte, one of those that `tarfile` names.
        n_bytes: any number, even a negative one.
        link: what it leads to, if it is a link.
    """

    name: str
    type: bytes
    n_bytes: int
    link: str = ""


def told_by(block: bytes) -> Told:
    """What a block of 512 bytes tells as a header.

    Raises:
        NoHeaderError: it is none.
    """
    return told_plainly(block) or told_by_tarfile(block)


def told_plainly(block: bytes) -> Told | None:
    """The same, if the block is the header of a plain file or of pax records; None of any other."""
    plain = _PLAIN.fullmatch(block)
    if plain is None:
        return None
    if _checksum(block) != int(block[_CHECKSUM_AT], 8):
        return None
    name, prefix = _text(plain["name"]), _text(plain["prefix"])
    return Told(f"{prefix}/{name}" if prefix else name, plain["type"], int(block[_SIZE_AT], 8))


def told_by_tarfile(block: bytes) -> Told:
    """What `tarfile` reads in a block.

    Raises:
        NoHeaderError: it is no header.
    """
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise NoHeaderError(str(error)) from None
    return Told(info.name, info.type, info.size, info.linkname)


def first_header(data: bytes) -> int | None:
    """Where the first block of data begins that is a header with a magic word; None if none is."""
    first_bytes = data[_MAGIC_OFFSET::BLOCK_BYTES]  # where each block would have it
    n_before = first_bytes.find(_MAGIC[:1])
    while n_before >= 0:
        start = n_before * BLOCK_BYTES
        if data.startswith(_MAGIC, start + _MAGIC_OFFSET) and _is_header(
            data[start : start + BLOCK_BYTES]
        ):
            return start
        n_before = first_bytes.find(_MAGIC[:1], n_before + 1)
    return None


def _is_header(block: bytes) -> bool:
    try:
        told_by(block)
    except NoHeaderError:
        return False
    return True


def _checksum(block: bytes) -> int:
    """The sum of the bytes of a header, its own checksum taken for blanks.

    The low half of an `adler32` is the sum of up to 256 bytes, plus 1: less than its modulus.
    """
    halves = (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2
    return halves - sum(block[148:156]) + _BLANK_CHECKSUM


def _text(field: bytes) -> str:
    """A field up to its first NUL."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
