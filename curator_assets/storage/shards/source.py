"""The tars as they lie under `source`."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from fsspec.implementations.local import LocalFileSystem

from curator_assets.errors import UserError, named
from curator_assets.masking import masked_location
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.filesystem import opened
from curator_assets.storage.shards.shard_names import (
    SHARD_SUFFIX,
    path_without_escapes,
    shard_of,
    why_no_shard,
    would_be_shard,
)
from curator_assets.storage.shards.tars import BLOCK_BYTES
from curator_assets.storage.shards.tree import (
    ALL_OF_IT,
    Signature,
    info_signature,
    stat_signature,
    walk,
    walk_bucket,
)

__all__ = ["Looked", "MissingSourceError", "Signature", "Source", "UnseenFolderError"]

_WHOLE_BLOCK = 1000
_N_ASKED_AT_ONCE = 16
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


class MissingSourceError(UserError, FileNotFoundError):
    """There is no source folder, or nothing in it that can be taken."""


class UnseenFolderError(UserError):
    """A folder below the source can't be listed."""


@dataclass(frozen=True)
class Looked:
    """What one look at the source found; all paths are below it.

    Attributes:
        shards: every tar and its signature, in name order.
        passed_over: path of what a person would take for a shard, by its name, and is none -> why.
        unseen: folder that can't be listed, with a slash at the end (`./`: the source itself), or
            tar that can't be looked at -> why.
        broken: link that leads to nothing -> why.
    """

    shards: Mapping[str, Signature]
    passed_over: Mapping[str, str]
    unseen: Mapping[str, str]
    broken: Mapping[str, str]

    def why_hidden(self, shard: str) -> str | None:
        """Why the tar of a shard may lie there though it was not seen; None if it does not."""
        path = shard + SHARD_SUFFIX
        raw = path_without_escapes(shard)
        if raw and (why := self._why_hidden(raw)):
            return why
        return self._why_hidden(path)

    def _why_hidden(self, path: str) -> str | None:
        if why := self.unseen.get(path) or self.broken.get(path):
            return f"{path}: {why}"
        while path:
            path = path.rpartition("/")[0]
            folder = f"{path}/" if path else ALL_OF_IT
            if why := self.unseen.get(folder) or self.broken.get(path):
                return f"{folder}: {why}"
        return None


class Source:
    """The tars below a folder or an fsspec URI; a shard is a tar's path without `.tar`.

    Its `location`, to be shown, is masked.

    Raises:
        UnknownLocationError: no filesystem is known for the URI.
    """

    def __init__(self, location: str) -> None:
        self.location = masked_location(location)
        self.fs, self.root = opened(location)
        self._is_local = type(self.fs) is LocalFileSystem
        self._bucket = Bucket(self.fs, self.root)

    def __repr__(self) -> str:
        return f"Source({self.location!r})"

    def look(self, output: str | None = None) -> Looked:
        """What lies below the root, and what of it can't be seen.

        Args:
            output: left out, where a link leads there.

        Raises:
            MissingSourceError: there is no such folder.
        """
        fs, path = (None, None) if output is None else opened(output)
        left_out = path if fs is self.fs else None
        try:
            if self._is_local:
                tree = walk(self.root, would_be_shard, left_out)
            else:
                tree = walk_bucket(self._bucket, would_be_shard, left_out)
        except FileNotFoundError:
            raise MissingSourceError(
                f"source {self.location} is not a folder; set 'source' in the settings to where "
                "the tars lie"
            ) from None
        shards, passed_over = dict[str, Signature](), dict(tree.passed_over)
        for below, signature in sorted(tree.files.items()):
            if why := why_no_shard(below.rpartition("/")[2]):
                passed_over[below] = why
            elif below != (name := shard_of(below) + SHARD_SUFFIX) and name in tree.files:
                passed_over[below] = "its name, with bytes escaped that are no UTF-8, is another's"
            else:
                shards[shard_of(below)] = signature
        return Looked(shards, dict(sorted(passed_over.items())), tree.unseen, tree.broken)

    def list_shards(self) -> Mapping[str, Signature]:
        """Every shard below the root and its signature, in name order.

        Raises:
            MissingSourceError: there is no such folder.
            UnseenFolderError: a folder can't be listed.
        """
        looked = self.look()
        if looked.unseen:
            lines = [f"{below}: {why}" for below, why in looked.unseen.items()]
            raise UnseenFolderError(f"not all of {self.location} can be seen: {named(lines)}")
        return looked.shards

    def signature(self, shard: str) -> Signature:
        """The signature of one shard.

        Raises:
            FileNotFoundError: the tar is gone.
        """
        try:
            if self._is_local:
                return stat_signature(os.stat(self._path(shard)))  # noqa: PTH116
            return info_signature(self._bucket.info(self._name(shard)))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"shard {shard!r}: no tar at {self._path(shard)}; it was removed or renamed"
            ) from None

    def whole(self, shards: Mapping[str, Signature], marker: str | None) -> Iterator[list[str]]:
        """Which of some tars are complete: their marker file is there, or they end as tars end.

        Args:
            shards: the tars as they were listed.
            marker: suffix of the marker file; None to look at each tar's last blocks.

        Yields:
            Those of every thousand tars that are complete, so that a caller may stop in between.
        """
        names = list(shards)
        for start in range(0, len(names), _WHOLE_BLOCK):
            block = names[start : start + _WHOLE_BLOCK]
            if marker is not None:
                yield self._marked(block, marker)
            else:
                yield self._ended([s for s in block if _may_end(shards[s].size)], shards)

    def _marked(self, block: list[str], marker: str) -> list[str]:
        """Those of a block beside which the marker lies; links to folders are followed."""
        if self._is_local:
            return [shard for shard in block if os.path.exists(self._path(shard) + marker)]  # noqa: PTH110
        with ThreadPoolExecutor(_N_ASKED_AT_ONCE) as threads:
            found = threads.map(self._is_there, [self._name(shard) + marker for shard in block])
            return [shard for shard, exists in zip(block, found, strict=True) if exists]

    def _is_there(self, name: str) -> bool:
        if self._is_local:
            return os.path.lexists(f"{self.root}/{name}")
        try:
            self._bucket.info(name)
        except FileNotFoundError:
            return False
        return True

    def _ended(self, block: list[str], shards: Mapping[str, Signature]) -> list[str]:
        """Those of a block that end in an end-of-archive block; a bucket is asked in parallel."""
        sizes = {shard: shards[shard].size for shard in block}
        ends = self._read_part_of_each({s: (n - BLOCK_BYTES, n) for s, n in sizes.items()})
        return [shard for shard in block if ends[shard] == bytes(BLOCK_BYTES)]

    def _read_part_of_each(
        self, ranges: Mapping[str, tuple[int, int]]
    ) -> dict[str, bytes | OSError]:
        """Shard -> the bytes of that range, or why they can't be read; all at once."""
        if not self._is_local:
            found = self._bucket.read_part_of_each({self._name(s): r for s, r in ranges.items()})
            return dict(zip(ranges, found.values(), strict=True))
        return {shard: self._read_part(shard, *span) for shard, span in ranges.items()}

    def _read_part(self, shard: str, start: int, stop: int) -> bytes | OSError:
        try:
            with open(self._path(shard), "rb") as file:  # noqa: PTH123
                return os.pread(file.fileno(), stop - start, start)
        except OSError as error:
            return error

    def why_not_whole(
        self, shards: Mapping[str, Signature], marker: str | None
    ) -> Mapping[str, str]:
        """Why some tars are not among `whole`, by what they begin with.

        Args:
            shards: those tars, as they were listed.
            marker: as in `whole`.
        """
        if marker is not None:
            return dict.fromkeys(shards, f"no marker file {marker} of the same name is beside it")
        names, reasons = list(shards), dict[str, str]()
        for start in range(0, len(names), _WHOLE_BLOCK):
            block = names[start : start + _WHOLE_BLOCK]
            ends = {shard: min(shards[shard].size, BLOCK_BYTES) for shard in block}
            begins = self._read_part_of_each({shard: (0, end) for shard, end in ends.items()})
            reasons |= {shard: _why_not_whole(begin) for shard, begin in begins.items()}
        return reasons

    def not_taken(
        self, looked: Looked, unknown: Mapping[str, Signature], marker: str | None
    ) -> tuple[set[str], dict[str, str]]:
        """Which unknown tars are whole, and why all else that looks like a shard is not taken.

        Returns:
            The whole ones; and path below the source -> why.
        """
        whole = {shard for block in self.whole(unknown, marker) for shard in block}
        others = {shard: found for shard, found in unknown.items() if shard not in whole}
        reasons = dict(looked.passed_over) | dict(looked.broken) | dict(looked.unseen)
        for shard, why in self.why_not_whole(others, marker).items():
            reasons[shard + SHARD_SUFFIX] = why
        return whole, reasons

    def open(self, shard: str, n_bytes: int | None = None) -> IO[bytes]:
        """The tar of a shard, open for sequential reading in large blocks.

        Where its size is known a bucket is not asked for it.
        """
        if self._is_local:
            return open(self._path(shard), "rb")  # noqa: PTH123
        return self._bucket.open_ahead(self._name(shard), n_bytes)

    def read_ranges(self, shard: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of a tar, each given as (offset, n_bytes)."""
        spans = [(offset, offset + n_bytes) for offset, n_bytes in ranges]
        if not self._is_local:
            return self._bucket.read_ranges(self._name(shard), spans)
        with open(self._path(shard), "rb") as file:  # noqa: PTH123
            return [os.pread(file.fileno(), stop - start, start) for start, stop in spans]

    def _path(self, shard: str) -> str:
        return f"{self.root}/{self._name(shard)}"

    def _name(self, shard: str) -> str:
        """Of its tar, below the root; asked for only where it may be another one."""
        name, raw = shard + SHARD_SUFFIX, path_without_escapes(shard)
        return raw if raw and not self._is_there(name) else name


def _may_end(size: int) -> bool:
    return size > 0 and size % BLOCK_BYTES == 0


def _why_not_whole(begin: bytes | OSError) -> str:
    """Why a tar is not taken that does not end as tars end, by its first bytes."""
    if isinstance(begin, OSError):
        return f"it can't be read: {getattr(begin, 'strerror', None) or begin}"
    if not begin:
        return "it is empty: 0 bytes"
    for magic, kind in _MAGIC.items():
        if begin.startswith(magic):
            return f"compressed ({kind}), whatever its name says: decompress it"
    if len(begin) == BLOCK_BYTES and any(begin):
        try:
            tarfile.TarInfo.frombuf(begin, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError):
            return "it is no tar: it does not begin with the header of a member"
    return (
        "it does not end as tars end: it was cut, or is still being written; copy it again if it "
        "stays so"
    )
