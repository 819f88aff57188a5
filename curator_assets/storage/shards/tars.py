"""Samples in webdataset tars: read in one pass, written byte for byte.

Members are one after the other in memory, never a whole sample: of a sample only its image is held.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, NamedTuple, Protocol

from curator_assets.control_characters import escaped_bytes
from curator_assets.storage.shards.tar_blocks import BLOCK_BYTES, first_header
from curator_assets.storage.shards.tar_headers import (
    BrokenTarError,
    Header,
    read_headers,
)

__all__ = ["BLOCK_BYTES", "BrokenTarError", "RepeatedKeyError", "TarContent", "write_tar"]

IMAGE_EXTENSIONS = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "jp2", "j2k", "jpx"}
    | {"avif", "heic", "heif", "ppm", "pgm", "pbm", "pnm"}
)
"""Last parts of member names that make a member an image of its sample."""

MAX_IMAGE_BYTES = 1 << 30
"""Of an image file; a larger one is not read into memory."""

_CONTENT_DIGITS = 32  # of 4 bits
_READ_AT_ONCE = 1 << 20
_N_NAMED, _N_CHARACTERS = 10, 200


def content_hash(data: bytes) -> str:
    """`Member.content_hash` of data that lies somewhere else."""
    return hashlib.sha256(data).hexdigest()[:_CONTENT_DIGITS]


class RepeatedKeyError(BrokenTarError):
    """Two samples of a tar have one key, or two members of a sample one name."""


class MemberReader:
    """The data of one member, read once, in portions of whole blocks; what is read is hashed.

    Args:
        file: the tar.
        offset: at which the data starts.
        n_bytes: of it.

    Attributes:
        header_at: where in the tar a header lies among this data, as far as it is read; None if
            none does.
        last_block: the last 512 bytes that were read.
    """

    def __init__(self, file: IO[bytes], offset: int, n_bytes: int) -> None:
        self._file, self._at, self._left = file, offset, n_bytes
        self._digest = hashlib.sha256()
        self.header_at: int | None = None
        self.last_block = b""

    def read(self, n_bytes: int = -1) -> bytes:
        """Up to so many bytes, or all that are left."""
        wanted = self._left if n_bytes < 0 else min(n_bytes, self._left)
        self._file.seek(self._at)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise OSError(f"{wanted} bytes were there at {self._at}, and now {len(data)} are")
        found = first_header(data)
        if found is not None and self.header_at is None:
            self.header_at = self._at + found
        self._at, self._left = self._at + len(data), self._left - len(data)
        self._digest.update(data)
        self.last_block = (self.last_block + data[-BLOCK_BYTES:])[-BLOCK_BYTES:]
        return data

    def finish(self) -> str:
        """The sha256 of all of it, in hex; what was not read is read in blocks."""
        while self._left:
            self.read(_READ_AT_ONCE)
        return self._digest.hexdigest()


@dataclass
class Member:
    """One file of a sample.

    Attributes:
        name: as in the tar; bytes that are not UTF-8 are surrogates in it.
        key: of its sample: its name up to the first dot of the last part, such bytes escaped.
        ext: what follows the key, in lower case.
        offset: the byte at which its data starts; a hard link has that of its target.
        n_bytes: of its data.
        reader: of its data, until the next member is asked for.
        data: of the image that decides; None where it was not read.
        sha256: the hex hash of the data, once the next member was asked for.
    """

    name: str
    key: str
    ext: str
    offset: int
    n_bytes: int
    reader: MemberReader
    data: bytes | None = None
    sha256: str = ""

    @property
    def content_hash(self) -> str:
        """128 bits of it, in hex."""
        return self.sha256[:_CONTENT_DIGITS]

    @property
    def is_image(self) -> bool:
        """Whether its name says so."""
        return self.ext.rpartition(".")[2] in IMAGE_EXTENSIONS


@dataclass
class Sample:
    """Adjacent members with one key.

    Attributes:
        key: of all of them.
        position: counts samples from 0.
        members: of which only `image` has its data.
        image: the first of those whose extension is an image's and has the fewest dots (`jpg`
            before `mask.png`), or None: the one that decides.
        n_images: how many members are images.
        caption: the member with the extension `txt`, or None.
    """

    key: str
    position: int
    members: list[Member] = field(default_factory=list)
    image: Member | None = None
    n_images: int = 0
    caption: Member | None = None


class Readable(Protocol):
    """Data that is read in portions."""

    def read(self, n_bytes: int, /) -> bytes:
        """Up to so many bytes."""


class Place(NamedTuple):
    """Where in its tar a sample's image lies, and its caption, if it has one."""

    position: int
    offset: int
    n_bytes: int
    caption_offset: int | None
    caption_n_bytes: int | None


@dataclass
class LeftOut:
    """Members that belong to no sample, for one reason: how many, and the names of the first."""

    n_members: int = 0
    names: list[str] = field(default_factory=list)


@dataclass
class TarContent:
    """What one pass over a tar has seen; complete once the pass is over.

    Attributes:
        left_out: why members belong to no sample -> those.
        images: the place of each sample's image, in order.
    """

    shard: str
    left_out: dict[str, LeftOut] = field(default_factory=lambda: defaultdict(LeftOut))
    images: list[Place] = field(default_factory=list)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def fingerprint(self) -> str:
        """128-bit hex hash of every member's name and bytes, in order."""
        return self._digest.hexdigest()[:32]

    def samples(self, file: IO[bytes]) -> Iterator[Sample]:
        """The samples of an open tar, in order, each with the data of its image.

        Raises:
            RepeatedKeyError: it comes back to a key after another one, or repeats a member's name.
            BrokenTarError: it is not a whole tar.
        """
        sample: Sample | None = None
        for member in self.members(file):
            if sample is None or member.key != sample.key:
                if sample is not None:
                    yield self._ended(sample)
                sample = Sample(member.key, 0 if sample is None else sample.position + 1)
            sample.members.append(member)
            if member.ext == "txt":
                sample.caption = member
            if member.is_image:
                _take_image(sample, member)
        if sample is not None:
            yield self._ended(sample)

    def members(self, file: IO[bytes]) -> Iterator[Member]:
        """The members of the samples of an open tar, in order; those of one sample have its key.

        Raises:
            RepeatedKeyError: it comes back to a key after another one, or repeats a member's name.
            BrokenTarError: it is not a whole tar.
        """
        seen, exts, key = dict[str, int](), set[str](), ""
        for header in self._files(file):
            split = split_name(header.name)
            if split is None:
                self._leave_out(_why_stray(header.name), header, file)
                continue
            member = Member(
                name=header.name,
                key=split[0],
                ext=split[1],
                offset=header.offset,
                n_bytes=header.n_bytes,
                reader=MemberReader(file, header.offset, header.n_bytes),
            )
            if member.key != key:
                self._require_new(member.key, seen)
                key, exts = member.key, set()
                seen[key] = len(seen)
            if member.ext in exts:
                raise RepeatedKeyError(
                    f"shard {self.shard!r}: two members named {escaped_bytes(member.name)!r}; keep "
                    "one of them, or give them different names"
                )
            exts.add(member.ext)
            yield member
            member.sha256 = member.reader.finish()
            self._require_no_other(header, member.reader)
            self._digest.update(
                f"{member.name}\0{member.sha256}\n".encode(errors="surrogateescape")
            )

    def _require_new(self, key: str, seen: dict[str, int]) -> None:
        if key in seen:
            raise RepeatedKeyError(
                f"shard {self.shard!r}: samples {seen[key]} and {len(seen)} both have the key "
                f"{key!r}; give them different keys, or put the members of one sample together"
            )

    def _files(self, file: IO[bytes]) -> Iterator[Header]:
        """The members that have data; a hard link has that of its target."""
        links = _Links(self.shard)
        for header in read_headers(file, self.shard):
            if header.is_folder:
                continue
            links.add(header)
            if header.link is not None:
                target = links.target_of(header, file)
                if target is None:
                    why = "hard link to what is not in this tar"
                    self._leave_out(why, header, file)
                    continue
                yield Header(header.name, target.offset, target.n_bytes)
            elif header.refused:
                self._leave_out(header.refused, header, file)
            else:
                yield header

    def _require_no_other(self, header: Header, reader: MemberReader) -> None:
        """Refuse a member whose data holds the header of another, unless it is a tar by its name.

        Raises:
            BrokenTarError: says which.
        """
        begins, ends = reader.header_at == header.offset, not any(reader.last_block)
        is_tar = header.name.endswith(".tar") and begins and ends
        if reader.header_at is not None and not is_tar:
            raise BrokenTarError(
                f"shard {self.shard!r}: {escaped_bytes(header.name)!r} claims {header.n_bytes} "
                f"bytes and so swallows the member at byte {reader.header_at}; its size is wrong: "
                "pack or copy the tar again"
            )

    def _leave_out(self, why: str, header: Header, file: IO[bytes]) -> None:
        reader = MemberReader(file, header.offset, header.n_bytes)
        reader.finish()
        self._require_no_other(header, reader)
        found = self.left_out[why]
        found.n_members += 1
        if found.n_members <= _N_NAMED:
            found.names.append(escaped_bytes(header.name)[:_N_CHARACTERS])

    def _ended(self, sample: Sample) -> Sample:
        image, caption = sample.image, sample.caption
        if image:
            words = (caption.offset, caption.n_bytes) if caption else (None, None)
            self.images.append(Place(sample.position, image.offset, image.n_bytes, *words))
        return sample


def _take_image(sample: Sample, member: Member) -> None:
    """Let an image member decide, if it has fewer dots than the one before it."""
    sample.n_images += 1
    before = sample.image
    if before is not None and before.ext.count(".") <= member.ext.count("."):
        return
    if before is not None:
        before.data = None
    if member.n_bytes <= MAX_IMAGE_BYTES:
        member.data = member.reader.read()
    sample.image = member


class _Links:
    """The members of a tar by name, for hard links to find their targets."""

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._by_name = dict[str, Header]()
        self._is_whole = False

    def add(self, header: Header) -> None:
        """Take in a member; one of the same name before it is not meant any more."""
        self._by_name[header.name] = header

    def target_of(self, link: Header, file: IO[bytes]) -> Header | None:
        """The file that a hard link means, earlier in the tar or later; None if there is none."""
        found = self._followed(link)
        if found is None and not self._is_whole:
            self._is_whole = True
            for header in read_headers(file, self._shard):
                self._by_name.setdefault(header.name, header)
            found = self._followed(link)
        return found

    def _followed(self, link: Header) -> Header | None:
        """What is at the end of a chain of links, which from then on leads there at once."""
        chain, found = dict[str, None](), link
        while found.link is not None and found.name not in chain:
            chain[found.name] = None
            found = self._by_name.get(found.link, _NOTHING)
        if found.link or found.is_folder or found.refused:
            found = _NOTHING
        if found is not _NOTHING or self._is_whole:
            self._by_name |= dict.fromkeys(chain, found)
        return None if found is _NOTHING else found


_NOTHING = Header("", 0, 0, refused="there is none")


def split_name(name: str) -> tuple[str, str] | None:
    """Key and extension of a member's name, as webdataset splits it; None of a stray.

    Bytes that are not UTF-8 are escaped in both. A name whose last part begins with a dot, or that
    lies in `__MACOSX`, is a stray: what systems put beside files.
    """
    folder, slash, last = name.rpartition("/")
    stem, dot, ext = last.partition(".")
    if not (stem and dot) or "__MACOSX" in folder.split("/"):
        return None
    return escaped_bytes(f"{folder}{slash}{stem}"), escaped_bytes(ext.lower())


def _why_stray(name: str) -> str:
    folder, _, last = name.rpartition("/")
    is_hidden = last.startswith(".") or "__MACOSX" in folder.split("/")
    return "hidden file" if is_hidden else "no extension"


def write_tar(file: IO[bytes], members: Iterable[tuple[str, int, Readable]]) -> None:
    """Write members as they are: same names, bytes and order; owner, mode and time are fixed.

    Args:
        file: to write to.
        members: name, number of bytes and data of each.
    """
    kind = tarfile.PAX_FORMAT
    with tarfile.open(fileobj=file, mode="w", format=kind, encoding="utf-8") as tar:
        tar.copybufsize = _READ_AT_ONCE  # type: ignore[attr-defined]  # or 16 kB
        for name, n_bytes, data in members:
            info = tarfile.TarInfo(name)
            info.size = n_bytes
            info.mode = 0o644
            tar.addfile(info, data)  # type: ignore[arg-type]
            tar.members.clear()  # type: ignore[attr-defined]  # or it remembers all
