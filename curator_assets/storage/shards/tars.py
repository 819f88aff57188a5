"""Samples in webdataset tars: read in one pass, written byte for byte."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Any, NamedTuple

BLOCK_BYTES = tarfile.BLOCKSIZE

IMAGE_EXTENSIONS = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "jp2", "j2k", "jpx"}
    | {"avif", "heic", "heif", "ppm", "pgm", "pbm", "pnm"}
)
"""Last parts of member names that make a member the image of its sample."""


_CONTENT_DIGITS = 32  # of 4 bits


def content_hash(data: bytes) -> str:
    """`Member.content_hash` of data that lies somewhere else."""
    return hashlib.sha256(data).hexdigest()[:_CONTENT_DIGITS]


class BrokenTarError(ValueError):
    """A tar ends too early, or holds what makes its samples ambiguous."""


class RepeatedKeyError(BrokenTarError):
    """Two samples of a tar have one key, or two members of a sample one name."""


@dataclass(frozen=True)
class Member:
    """One file of a sample: `name` as in the tar, `ext` what follows the key.

    Where it was read from a tar, `offset` is the byte at which the data starts, and `sha256` the
    hex hash of the data.
    """

    name: str
    ext: str
    data: bytes
    offset: int | None = None
    sha256: str = ""

    @property
    def content_hash(self) -> str:
        """128 bits of it, in hex."""
        return self.sha256[:_CONTENT_DIGITS]


@dataclass(frozen=True)
class Sample:
    """Adjacent members with one key; `position` counts samples from 0."""

    key: str
    position: int
    members: tuple[Member, ...]

    @property
    def image(self) -> Member | None:
        """The first member whose extension is an image's (`jpg` before `mask.png`), or None."""
        images = [member for member in self.members if _is_image(member.ext)]
        return min(images, key=lambda member: member.ext.count("."), default=None)

    @property
    def caption(self) -> Member | None:
        """The member with the extension `txt`, or None."""
        return next((member for member in self.members if member.ext == "txt"), None)


class Place(NamedTuple):
    """Where in its tar a sample's image lies, and its caption, if it has one."""

    position: int
    offset: int
    n_bytes: int
    caption_offset: int | None
    caption_n_bytes: int | None


@dataclass
class TarContent:
    """What one pass over a tar has seen; complete once the pass is over.

    Attributes:
        strays: members that belong to no sample (no extension, links, devices).
        images: the place of each sample's image, in order.
    """

    shard: str
    strays: list[str] = field(default_factory=list)
    images: list[Place] = field(default_factory=list)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def fingerprint(self) -> str:
        """128-bit hex hash of every member's name and bytes, in order."""
        return self._digest.hexdigest()[:32]

    def samples(self, file: IO[bytes], *, images_only: bool = False) -> Iterator[Sample]:
        """The samples of an open tar, in order.

        Args:
            file: the tar.
            images_only: give members other than images and captions without their data; each is
                read, in blocks, all the same.

        Raises:
            RepeatedKeyError: it comes back to a key after another one, or repeats a member's name.
            BrokenTarError: the tar is cut, or has garbage between members.
        """
        seen: dict[str, int] = {}
        key, members = "", list[Member]()
        for member_key, member in self._members(file, images_only):
            if member_key != key and members:
                yield self._sample(key, members, seen)
                members = []
            if any(member.ext == other.ext for other in members):
                raise RepeatedKeyError(f"shard {self.shard!r}: two members named {member.name!r}")
            key = member_key
            members.append(member)
        if members:
            yield self._sample(key, members, seen)

    def _sample(self, key: str, members: list[Member], seen: dict[str, int]) -> Sample:
        if key in seen:
            raise RepeatedKeyError(
                f"shard {self.shard!r}: samples {seen[key]} and {len(seen)} both have the key "
                f"{key!r}; give them different keys, or put the members of one sample together"
            )
        sample = Sample(key, len(seen), tuple(members))
        seen[key] = sample.position
        image, caption = sample.image, sample.caption
        if image and image.offset is not None:
            words = (caption.offset, len(caption.data)) if caption else (None, None)
            self.images.append(Place(sample.position, image.offset, len(image.data), *words))
        return sample

    def _members(self, file: IO[bytes], images_only: bool) -> Iterator[tuple[str, Member]]:
        from webdataset.tariterators import base_plus_ext  # imports torch

        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for info in tar:
                    if info.isdir():
                        continue
                    key, ext = base_plus_ext(info.name)
                    if key is None or not info.isreg():
                        self.strays.append(info.name)
                        continue
                    ext = ext.lower()
                    stream: Any = tar.extractfile(info)
                    if images_only and not _is_image(ext) and ext != "txt":
                        data, digest = b"", hashlib.file_digest(stream, "sha256")
                    else:
                        data = stream.read()
                        digest = hashlib.sha256(data)
                    content = digest.hexdigest()
                    self._digest.update(f"{info.name}\0{content}\n".encode())
                    yield key, Member(info.name, ext, data, info.offset_data, content)
                    tar.members.clear()  # type: ignore[attr-defined]  # or it remembers all
                _require_end(file, tar.offset, self.shard)
        except tarfile.TarError as error:
            raise BrokenTarError(
                f"shard {self.shard!r}: not a whole tar: {error}; copy it again"
            ) from error


def _is_image(ext: str) -> bool:
    return ext.rpartition(".")[2] in IMAGE_EXTENSIONS


def _require_end(file: IO[bytes], offset: int, shard: str) -> None:
    """Refuse a tar without an end-of-archive block: `tarfile` takes a cut one for complete."""
    file.seek(offset)
    block = file.read(BLOCK_BYTES)
    if len(block) < BLOCK_BYTES:
        raise BrokenTarError(
            f"shard {shard!r}: ends at byte {offset + len(block)} without an end-of-archive block; "
            "it was cut or is still being written"
        )
    if any(block):
        raise BrokenTarError(f"shard {shard!r}: byte {offset} is not a tar header; copy it again")


def write_tar(file: IO[bytes], samples: Iterable[Sample]) -> None:
    """Write samples as they are: same names, bytes and order; owner, mode and time are fixed."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            for member in sample.members:
                info = tarfile.TarInfo(member.name)
                info.size = len(member.data)
                info.mode = 0o644
                tar.addfile(info, BytesIO(member.data))
                tar.members.clear()  # type: ignore[attr-defined]
