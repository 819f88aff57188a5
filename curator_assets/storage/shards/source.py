"""The tars as they lie under `source`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from curator_assets.errors import UserError
from curator_assets.masking import masked_location
from curator_assets.storage.filesystem import opened
from curator_assets.storage.shards.tars import BLOCK_BYTES

READ_BLOCK_BYTES = 8 << 20
END_BYTES = 2 * BLOCK_BYTES  # zeros, in a tar that was closed
_WHOLE_BLOCK = 1000


class MissingSourceError(UserError, FileNotFoundError):
    """There is no source folder, or no tar in it."""


def require_tars(location: str, tars: Collection[str]) -> None:
    """Refuse a source in which no tar lies.

    Raises:
        MissingSourceError: says what was expected.
    """
    if not tars:
        raise MissingSourceError(
            f"source {location} holds no tar; expected webdataset shards, files that end in .tar, "
            "at any depth below it: set 'source' in the settings to where they lie, or make some "
            "of image files with `curate pack`"
        )


@dataclass(frozen=True)
class Signature:
    """What a listing tells of a tar; equal signatures mean equal bytes."""

    size: int
    modified: str


class Source:
    """The tars below a folder or an fsspec URI; a shard is a tar's path without `.tar`.

    Its `location`, to be shown, is masked.

    Raises:
        UnknownLocationError: no filesystem is known for the URI.
    """

    def __init__(self, location: str) -> None:
        self.location = masked_location(location)
        self.fs, self.root = opened(location)

    def __repr__(self) -> str:
        return f"Source({self.location!r})"

    def list_shards(self) -> dict[str, Signature]:
        """Every shard below the root and its signature, in name order.

        Raises:
            MissingSourceError: there is no such folder.
        """
        if not self.fs.isdir(self.root):
            raise MissingSourceError(
                f"source {self.location} is not a folder; set 'source' in the settings to where "
                "the tars lie"
            )
        found = self.fs.find(self.root, detail=True)
        return {
            path[len(self.root.rstrip("/")) + 1 : -len(".tar")]: _signature(info)
            for path, info in sorted(found.items())
            if path.endswith(".tar") and not path.rpartition("/")[2].startswith(".")
        }

    def signature(self, shard: str) -> Signature:
        """The signature of one shard.

        Raises:
            FileNotFoundError: the tar is gone.
        """
        try:
            return _signature(self.fs.info(self._path(shard)))
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
        names, marked = list(shards), set[str]()
        if marker is not None:
            marked = set(self.fs.find(self.root))
        for start in range(0, len(names), _WHOLE_BLOCK):
            block = names[start : start + _WHOLE_BLOCK]
            if marker is not None:
                yield [shard for shard in block if self._path(shard) + marker in marked]
            else:
                yield self._ended([s for s in block if _may_end(shards[s].size)], shards)

    def _ended(self, block: list[str], shards: Mapping[str, Signature]) -> list[str]:
        """Those of a block that end in an end-of-archive block; a bucket is asked in parallel."""
        sizes = [shards[shard].size for shard in block]
        ends = self.fs.cat_ranges(
            [self._path(shard) for shard in block],
            [size - END_BYTES for size in sizes],
            sizes,
            on_error="return",
        )
        return [shard for shard, end in zip(block, ends, strict=True) if end == bytes(END_BYTES)]

    def open(self, shard: str) -> IO[bytes]:
        """The tar of a shard, open for sequential reading in large blocks."""
        return self.fs.open(  # type: ignore[no-any-return]
            self._path(shard), "rb", block_size=READ_BLOCK_BYTES, cache_type="readahead"
        )

    def read_ranges(self, shard: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of a tar, each given as (offset, n_bytes)."""
        paths = [self._path(shard)] * len(ranges)
        starts = [offset for offset, _ in ranges]
        ends = [offset + n_bytes for offset, n_bytes in ranges]
        return list(self.fs.cat_ranges(paths, starts, ends, on_error="raise"))

    def _path(self, shard: str) -> str:
        return f"{self.root}/{shard}.tar"


def _may_end(size: int) -> bool:
    return size >= END_BYTES and size % BLOCK_BYTES == 0


def _signature(info: dict[str, Any]) -> Signature:
    modified = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified")
    return Signature(size=int(info["size"]), modified=str(modified))
