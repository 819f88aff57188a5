"""The members of a tar as its headers tell them: in one pass, and without trust.

Nothing is taken for granted that a tar claims of itself. A header costs a step forward, what it
claims must lie within the file, and where the members end nothing may follow but zeros: `tarfile`
stops at the first zero block, and reads two tars that were put one behind the other as one short.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import IO, NamedTuple

from curator_assets.storage.shards.tar_blocks import (
    BLOCK_BYTES,
    NoHeaderError,
    Told,
    first_header,
    told_by,
)

_ZEROS_AT_ONCE = 1 << 20
_MAX_EXTENSION_BYTES = 1 << 20
"""Of a long name, or of the records of a pax header."""

_LONG_LINK = "@LongLink"
_MAX_DIGITS = 19
_EXTENSIONS = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
    | {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)
_FILES = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_PAX_KEYS = (b"path", b"linkpath", b"size", b"GNU.sparse.")
"""How the keys begin that a pax header is read for."""

_WITHOUT_DATA = frozenset(tarfile.SUPPORTED_TYPES) - frozenset(tarfile.REGULAR_TYPES)
"""Links, folders and devices: whatever size they tell."""

_REFUSED = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "named pipe",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}


class BrokenTarError(ValueError):
    """A tar ends too early, or holds what makes its samples ambiguous."""


class Header(NamedTuple):
    """What a member is said to be.

    Attributes:
        name: bytes that are not UTF-8 are surrogates in it, as `os.fsdecode` has them.
        offset: of its data, in bytes from the start of the tar.
        n_bytes: of its data, all of which lie in the tar.
        is_folder: it is no file.
        link: it is a hard link to the member of this name.
        refused: why it is nothing that can be read; None if it can be.
    """

    name: str
    offset: int
    n_bytes: int
    is_folder: bool = False
    link: str | None = None
    refused: str | None = None


class _Extension(NamedTuple):
    """What extended headers say of the member after them."""

    name: str | None = None
    link: str | None = None
    records: Mapping[bytes, bytes] = MappingProxyType({})


_NOTHING_MORE = _Extension()


def read_headers(file: IO[bytes], shard: str) -> Iterator[Header]:
    """The members of an open tar, in order; the file may be read elsewhere in between.

    Raises:
        BrokenTarError: it is no tar, or not a whole one; says where, and what to do.
    """
    size = file.seek(0, os.SEEK_END)
    everywhere, extension, at, n_tail = dict[bytes, bytes](), _NOTHING_MORE, 0, 0
    while True:
        blocks = _read_at(file, at - n_tail, n_tail + BLOCK_BYTES)
        tail, block = blocks[:n_tail], blocks[n_tail:]
        if first_header(tail) is not None:
            raise BrokenTarError(
                f"shard {shard!r}: the data before byte {at} ends in the header of another member, "
                "since a size is wrong or part of the tar was lost: pack it again, or copy it again"
            )
        if len(block) < BLOCK_BYTES:
            raise BrokenTarError(
                f"shard {shard!r}: ends at byte {at + len(block)} without an end-of-archive block; "
                "it was cut or is still being written"
            )
        if not any(block):
            _require_zeros(file, at + BLOCK_BYTES, shard)
            return
        told = _parsed(block, at, shard)
        data_at = _data_offset(file, block, at, told)
        if told.type in _EXTENSIONS:
            _require_own_name(told, at, shard)
            data = _extension_data(file, data_at, told.n_bytes, at, size, shard)
            extension = _extended(extension, everywhere, told.type, data, at, shard)
            n_bytes = told.n_bytes
        elif told.type == tarfile.REGTYPE and extension is _NOTHING_MORE and not everywhere:
            n_bytes = told.n_bytes
            _require_within(told.name, n_bytes, data_at, at, size, shard)
            yield Header(told.name, data_at, n_bytes)
        else:
            header, n_bytes = _member(told, extension, everywhere, data_at, at, size, shard)
            extension = _NOTHING_MORE
            yield header
        n_tail = BLOCK_BYTES if n_bytes % BLOCK_BYTES else 0
        at = data_at + n_bytes // BLOCK_BYTES * BLOCK_BYTES + n_tail


def _parsed(block: bytes, at: int, shard: str) -> Told:
    try:
        return told_by(block)
    except NoHeaderError as error:
        raise BrokenTarError(
            f"shard {shard!r}: byte {at} is not a tar header ({error}); copy it again"
        ) from None


def _member(
    told: Told,
    extension: _Extension,
    everywhere: Mapping[bytes, bytes],
    data_at: int,
    at: int,
    size: int,
    shard: str,
) -> tuple[Header, int]:
    """A member, and how many bytes lie before the next header."""
    records = {**everywhere, **extension.records}
    name = extension.records.get(b"path") or extension.name or everywhere.get(b"path") or told.name
    link = records.get(b"linkpath") or extension.link or told.link
    n_bytes = _number(records[b"size"], at, shard) if records.get(b"size") else told.n_bytes
    kind, is_sparse = told.type, any(key.startswith(b"GNU.sparse.") for key in records)
    if is_sparse:
        name, kind = records.get(b"GNU.sparse.name") or name, tarfile.GNUTYPE_SPARSE
    if told.type in _WITHOUT_DATA:
        n_bytes = 0
    name = _text(name)
    _require_within(name, n_bytes, data_at, at, size, shard)
    header = Header(
        name=name,
        offset=data_at,
        n_bytes=n_bytes,
        is_folder=kind == tarfile.DIRTYPE,
        link=_text(link) if kind == tarfile.LNKTYPE else None,
        refused=_why_refused(kind),
    )
    return header, n_bytes


def _require_within(name: str, n_bytes: int, data_at: int, at: int, size: int, shard: str) -> None:
    if not 0 <= n_bytes <= size - data_at:
        raise BrokenTarError(
            f"shard {shard!r}: {name!r} at byte {at} claims {n_bytes} bytes, of which the file "
            f"holds {size - data_at}; it was cut, or is damaged: copy it again"
        )


def _why_refused(kind: bytes) -> str | None:
    if kind in _FILES or kind in (tarfile.DIRTYPE, tarfile.LNKTYPE):
        return None
    return _REFUSED.get(kind, f"unknown type {kind.decode('latin-1')!r}")


def _data_offset(file: IO[bytes], block: bytes, at: int, told: Told) -> int:
    """Where the data after a header begins: GNU's sparse files have blocks in between."""
    at += BLOCK_BYTES
    follows = told.type == tarfile.GNUTYPE_SPARSE and block[482:483] > b"\0"
    while follows and len(block) == BLOCK_BYTES:
        block = _read_at(file, at, BLOCK_BYTES)
        at += len(block)
        follows = block[504:505] > b"\0"
    return at


def _require_own_name(told: Told, at: int, shard: str) -> None:
    """Refuse a long name that is called as a member is: a text that stands for another's name."""
    is_long = told.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
    if is_long and not told.name.endswith(_LONG_LINK):
        raise BrokenTarError(
            f"shard {shard!r}: the header at byte {at} is that of a long name, but is called "
            f"{_text(told.name)!r} and not '././{_LONG_LINK}'; its type is damaged: copy it again"
        )


def _extension_data(
    file: IO[bytes], data_at: int, n_bytes: int, at: int, size: int, shard: str
) -> bytes:
    if not 0 <= n_bytes <= min(size - data_at, _MAX_EXTENSION_BYTES):
        raise BrokenTarError(
            f"shard {shard!r}: the extended header at byte {at} claims {n_bytes} bytes; expected "
            f"at most {_MAX_EXTENSION_BYTES}, and no more than the file holds: copy it again"
        )
    return _read_at(file, data_at, n_bytes)


def _extended(
    extension: _Extension,
    everywhere: dict[bytes, bytes],
    kind: bytes,
    data: bytes,
    at: int,
    shard: str,
) -> _Extension:
    """With what one more extended header says; what holds of all members goes to `everywhere`."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return extension._replace(name=_text(data))
    if kind == tarfile.GNUTYPE_LONGLINK:
        return extension._replace(link=_text(data))
    found = _pax_records(data, at, shard)
    records = {key: value for key, value in found if key.startswith(_PAX_KEYS)}
    if kind == tarfile.XGLTYPE:
        everywhere.update(records)
    elif records:
        return extension._replace(records={**extension.records, **records})
    return extension


def _pax_records(data: bytes, at: int, shard: str) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a pax header: `<length> <key>=<value>` and a newline, each."""
    data, start = data.rstrip(b"\0"), 0
    while start < len(data):
        space = data.find(b" ", start, start + _MAX_DIGITS + 1)
        digits = data[start:space] if space > 0 else b""
        end = start + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not (space < end <= len(data) and data[end - 1 : end] == b"\n" and equals):
            raise BrokenTarError(
                f"shard {shard!r}: the extended header at byte {at} is damaged; copy it again"
            )
        yield key, value
        start = end


def _number(digits: bytes, at: int, shard: str) -> int:
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise BrokenTarError(
            f"shard {shard!r}: the extended header of the member at byte {at} gives its size as "
            f"{digits[:40]!r}; copy it again"
        )
    return int(digits)


def _text(name: bytes | str) -> str:
    """A name up to its first NUL; bytes that are not UTF-8 are surrogates."""
    text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
    return text.partition("\0")[0]


def _require_zeros(file: IO[bytes], at: int, shard: str) -> None:
    """Refuse a tar in which something lies after its end."""
    file.seek(at)
    while block := file.read(_ZEROS_AT_ONCE):
        if rest := block.lstrip(b"\0"):
            found = at + len(block) - len(rest)
            raise BrokenTarError(
                f"shard {shard!r}: it ends at byte {at - BLOCK_BYTES}, but byte {found} is not "
                "zero: another tar was put behind it (`tar --ignore-zeros -xf` unpacks both), or "
                "part of it was lost; pack it again, or copy it again"
            )
        at += len(block)


def _read_at(file: IO[bytes], at: int, n_bytes: int) -> bytes:
    file.seek(at)
    return file.read(n_bytes)
