"""The tars as they lie under `source`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import fsspec

READ_BLOCK_BYTES = 8 << 20
BLOCK_BYTES = 512
END_BYTES = 2 * BLOCK_BYTES  # zeros, in a tar that was closed


@dataclass(frozen=True)
class Signature:
    """What a listing tells of a tar; equal signatures mean equal bytes."""

    size: int
    modified: str


class Source:
    """The tars below a folder or an fsspec URI; a shard is a tar's path without `.tar`."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.fs, self.root = fsspec.core.url_to_fs(location)

    def list_shards(self) -> dict[str, Signature]:
        """Every shard below the root and its signature, in name order.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        if not self.fs.isdir(self.root):
            raise FileNotFoundError(
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

    def is_whole(self, shard: str, marker: str | None) -> bool:
        """Whether a tar seems complete: its marker file is there, or it ends as tars end.

        Args:
            shard: which tar.
            marker: suffix of the marker file; None to look at the tar's last blocks.
        """
        if marker is not None:
            return bool(self.fs.exists(self._path(shard) + marker))
        size = self.signature(shard).size
        if size < END_BYTES or size % BLOCK_BYTES:
            return False
        return not any(self.fs.cat_file(self._path(shard), start=size - END_BYTES))

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


def _signature(info: dict[str, Any]) -> Signature:
    modified = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified")
    return Signature(size=int(info["size"]), modified=str(modified))
