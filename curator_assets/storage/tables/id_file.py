"""The ids of all samples, compressed in a scratch file: they are looked up shard by shard."""

from __future__ import annotations

import weakref

import pyarrow as pa

from curator_assets.storage.scratch import Scratch

_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")
_ID = "id"


class IdFile:
    """Ids of shards; in memory is where each shard's lie.

    Args:
        scratch: where the file lies.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._file = scratch.open()
        weakref.finalize(self, self._file.close)
        self._places = dict[str, tuple[int, int]]()
        self._end = 0

    def append(self, shard: str, ids: pa.ChunkedArray) -> None:
        """Add the ids of a shard, in the order of the tar."""
        sink, table = pa.BufferOutputStream(), pa.table({_ID: ids})
        with pa.ipc.new_stream(sink, table.schema, options=_COMPRESSED) as stream:
            stream.write_table(table)
        block = sink.getvalue()
        self._file.seek(self._end)
        self._file.write(block)
        self._places[shard] = self._end, block.size
        self._end += block.size

    def of(self, shard: str) -> pa.ChunkedArray:
        """The ids of a shard."""
        start, n_bytes = self._places[shard]
        self._file.seek(start)
        with pa.ipc.open_stream(self._file.read(n_bytes)) as stream:
            return stream.read_all()[_ID]
