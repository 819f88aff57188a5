"""Encoded images and what happens to their bytes: each mutation gives a file like and unlike it."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable
from typing import Literal

Mutation = Callable[[bytes, random.Random], bytes]

_FAVOURITES = [0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000]
_FAVOURITES += [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]

_SIZES: dict[str, tuple[bytes, int, str]] = {
    "jpeg": (rb"\xff[\xc0-\xc2]\x00.\x08", 5, ">HH"),
    "png": (rb"IHDR", 4, ">II"),
    "webp": (rb"\x9d\x01\x2a", 3, "<HH"),
    "bmp": (rb"^BM", 18, "<ii"),
    "jpeg2000": (rb"\xff\x51", 6, ">II"),
    "gif": (rb"^GIF8.a", 6, "<HH"),
    "avif": (rb"ispe\x00\x00\x00\x00", 8, ">II"),
}
"""Format -> what precedes width and height, how far, and as what they are stored."""


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, anywhere."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 5, 20, 100])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def flipped_bits(data: bytes, rng: random.Random) -> bytes:
    """Some bits changed, most of them near the start."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 8)):
        changed[int(len(changed) * rng.random() ** 3)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def inserted(data: bytes, rng: random.Random) -> bytes:
    """Bytes put in."""
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice([1, 2, 3, 16, 700])) + data[at:]


def deleted(data: bytes, rng: random.Random) -> bytes:
    """Bytes taken out."""
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 2, 3, 16, 700]) :]


def overwritten(data: bytes, rng: random.Random) -> bytes:
    """A run of 0x00 or 0xff."""
    at, n = rng.randrange(len(data)), rng.choice([2, 8, 64, 512, 4096])
    run = rng.choice([b"\0", b"\xff"]) * min(n, len(data) - at)
    return data[:at] + run + data[at + len(run) :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end missing."""
    return data[: rng.randrange(len(data))]


def cut_and_ended(data: bytes, rng: random.Random) -> bytes:
    """The end missing but for its last bytes, where end markers are."""
    return data[: rng.randrange(len(data))] + data[-rng.choice([2, 12, 16]) :]


def swapped(data: bytes, rng: random.Random) -> bytes:
    """Two blocks in each other's place."""
    n = rng.choice([16, 64, 512])
    blocks = [data[i : i + n] for i in range(0, len(data), n)]
    a, b = rng.randrange(len(blocks)), rng.randrange(len(blocks))
    blocks[a], blocks[b] = blocks[b], blocks[a]
    return b"".join(blocks)


def resized(data: bytes, rng: random.Random) -> bytes:
    """Another width or height in the header; of a TIFF, another number in some tag."""
    if data[:4] == b"II*\0":
        return retagged(data, rng)
    changed = bytearray(data)
    for pattern, distance, code in _SIZES.values():
        if found := re.search(pattern, data[:4096], re.DOTALL):
            n = struct.calcsize(code) // 2
            place = found.start() + distance + n * rng.randrange(2)
            order: Literal["big", "little"] = "big" if code[0] == ">" else "little"
            changed[place : place + n] = (_size(rng) % (1 << 8 * n - 1)).to_bytes(n, order)
            break
    return bytes(changed)


def retagged(data: bytes, rng: random.Random) -> bytes:
    """A TIFF with another number in some tag, if its tags can still be found."""
    changed = bytearray(data)
    try:
        (at,) = struct.unpack_from("<I", data, 4)
        (n_tags,) = struct.unpack_from("<H", data, at)
        entry = at + 2 + 12 * rng.randrange(max(n_tags, 1))
        struct.pack_into("<I", changed, entry + rng.choice([4, 8, 8]), _size(rng))
    except struct.error:
        return flipped(data, rng)
    return bytes(changed)


def refielded(data: bytes, rng: random.Random) -> bytes:
    """One number of some bytes changed to one that programs stumble over, near the start."""
    changed, n = bytearray(data), rng.choice([1, 2, 4])
    at = rng.randrange(2, max(3, min(len(data), 700) - n))
    number = rng.choice(_FAVOURITES) % (1 << 8 * n)
    changed[at : at + n] = number.to_bytes(n, rng.choice(["big", "little"]))
    return bytes(changed)


def doubled(data: bytes, rng: random.Random) -> bytes:
    """Itself behind it, or within it."""
    at = rng.choice([len(data), rng.randrange(len(data))])
    return data[:at] + data + data[at:]


SINGLE: list[Mutation] = [
    flipped,
    flipped_bits,
    inserted,
    deleted,
    overwritten,
    cut,
    cut_and_ended,
    swapped,
    resized,
    refielded,
    doubled,
]


def several(data: bytes, rng: random.Random) -> bytes:
    """A few of the others, one after the other."""
    for mutation in rng.sample(SINGLE, rng.randrange(2, 5)):
        data = mutation(data, rng) or data
    return data


MUTATIONS: list[Mutation] = [*SINGLE, several]


def with_checksums(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks set right, as far as they can be walked."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    changed, at = bytearray(data), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", changed, end, zlib.crc32(changed[at + 4 : end]))
        at = end + 4
    return bytes(changed)


def _size(rng: random.Random) -> int:
    return rng.choice([*_FAVOURITES, rng.randrange(1, 300), rng.randrange(1, 30_000)])
