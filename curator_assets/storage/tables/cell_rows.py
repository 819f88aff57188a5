"""A shard's images by cell group: what the pair search reads of it first.

Legend: *N images, D embedding width, M images of one cell group, V visits*.

A cell group's residents and visitors lie together in one batch of an Arrow file, so that each is
read at once; vectors lie in a file of their own, ordered by cell in long runs (`cell_vectors`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curator_assets.kernels.visits import places_of_visits
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.cell_vectors import StoredVectors, row_checksums
from curator_assets.storage.tables.parquet import named_damage

RUN_ROWS = 65_536
"""Vectors that are ordered by cell together: 200 MB of float32 of width 768."""

_GROUPS, _CHECKSUMS, _VECTORS = b"cell_groups", b"crc32", b"vectors"


@dataclass(frozen=True)
class CellRows:
    """Images of a shard, say those that take part in the search of a cell group.

    Attributes:
        position: int32 [M], in the shard.
        vector: int64 [M], place in the file of vectors.
        vector_crc: uint32 [M], CRC-32 of the vector as it is stored.
        key: uint64 [M, 2], as `kernels.cell_group.search_keys` gives it.
        home: int32 [M].
        n_visits: int32 [M].
        visits: int32 [V], a resident's all, a visitor's in the group.
        prefix: float32 [M, p + 1], or [M, 0].
    """

    position: NDArray[np.int32]
    vector: NDArray[np.int64]
    vector_crc: NDArray[np.uint32]
    key: NDArray[np.uint64]
    home: NDArray[np.int32]
    n_visits: NDArray[np.int32]
    visits: NDArray[np.int32]
    prefix: NDArray[np.float32]

    @classmethod
    def none(cls) -> CellRows:
        """No row at all."""
        n, i = np.zeros(0, np.int64), np.zeros(0, np.int32)
        crc, keys = np.zeros(0, np.uint32), np.zeros((0, 2), np.uint64)
        return cls(i, n, crc, keys, i, i, i, np.zeros((0, 0), np.float32))

    @classmethod
    def concatenate(cls, parts: list[CellRows]) -> CellRows:
        """All rows of some parts."""
        parts = parts or [cls.none()]
        names = [one.name for one in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def take(self, rows: NDArray[np.int64]) -> CellRows:
        """Some rows, with all their visits."""
        starts = np.cumsum(self.n_visits) - self.n_visits
        n_visits = self.n_visits[rows]
        visits = self.visits[places_of_visits(starts[rows], n_visits)]
        return CellRows(
            self.position[rows], self.vector[rows], self.vector_crc[rows], self.key[rows],
            self.home[rows], n_visits, visits, self.prefix[rows],
        )  # fmt: skip

    def visiting(self, keep: NDArray[np.bool_]) -> CellRows:
        """With some of the visits, bool [V]."""
        row = np.repeat(np.arange(len(self.home)), self.n_visits)[keep]
        n_visits = np.bincount(row, minlength=len(self.home)).astype(np.int32)
        return replace(self, n_visits=n_visits, visits=self.visits[keep])

    def checksum(self) -> int:
        """CRC-32 of all of it."""
        crc = 0
        for one in fields(self):
            part = np.ascontiguousarray(getattr(self, one.name))
            crc = zlib.crc32(part.data, crc)
        return crc


class CellFilesWriter:
    """Writes the two files of a shard.

    Args:
        vectors: the file of vectors, open for writing.
        group_of: int64 [K], the cell group of each cell.
    """

    def __init__(self, vectors: IO[bytes], group_of: NDArray[np.int64]) -> None:
        self._vectors, self._group_of = vectors, group_of
        self._waiting = list[tuple[NDArray[Any], CellRows]]()
        self._rows = list[CellRows]()
        self._n_waiting = self._n_written = 0
        self._form = ["float32", 0]

    def append(
        self,
        stored: NDArray[Any],
        *,
        position: NDArray[np.integer],
        key: NDArray[np.uint64],
        home: NDArray[np.int32],
        n_visits: NDArray[np.integer],
        visits: NDArray[np.int32],
        prefix: NDArray[np.float32],
    ) -> None:
        """Add images: float32 or float16 [N, D] as they are stored, the rest as in `CellRows`."""
        nowhere = np.zeros(len(stored), np.int64)
        rows = CellRows(
            position.astype(np.int32), nowhere, row_checksums(stored), key, home,
            n_visits.astype(np.int32), visits, prefix,
        )  # fmt: skip
        self._form = [stored.dtype.name, stored.shape[1]]
        self._waiting.append((stored, rows))
        self._n_waiting += len(stored)
        if self._n_waiting >= RUN_ROWS:
            self._order()

    def _order(self) -> None:
        """Write the vectors that wait, ordered by cell."""
        stored = np.concatenate([part for part, _ in self._waiting])
        rows = CellRows.concatenate([part for _, part in self._waiting])
        order = np.argsort(rows.home, kind="stable")
        rows = rows.take(order)
        self._vectors.write(stored[order].data)
        rows.vector[:] = self._n_written + np.arange(len(rows.home))
        self._rows.append(rows)
        self._n_written += len(stored)
        self._waiting, self._n_waiting = [], 0

    def finish(self, file: IO[bytes]) -> dict[int, CellRows]:
        """Write the rows by cell group; return them."""
        if self._waiting:
            self._order()
        rows = CellRows.concatenate(self._rows)
        by_group = dict(_by_group(rows, self._group_of)) if len(rows.home) else {}
        told = {
            _GROUPS: list(by_group),
            _CHECKSUMS: [part.checksum() for part in by_group.values()],
            _VECTORS: self._form,
        }
        schema = _schema(rows.prefix.shape[1]).with_metadata(
            {name: json.dumps(v) for name, v in told.items()}
        )
        with pa.ipc.new_file(file, schema) as writer:
            for part in by_group.values():
                writer.write_batch(_batch(part, schema))
        return by_group


def _by_group(rows: CellRows, group_of: NDArray[np.int64]) -> Iterator[tuple[int, CellRows]]:
    """The residents and visitors of each cell group, with the visits that its search needs."""
    n_rows, home_group = np.int64(len(rows.home)), group_of[rows.home]
    row, group = np.repeat(np.arange(n_rows), rows.n_visits), group_of[rows.visits]
    members = np.unique(
        np.concatenate([home_group * n_rows + np.arange(n_rows), group * n_rows + row])
    )
    of_group, member = np.divmod(members, n_rows)
    starts = np.flatnonzero(np.diff(of_group, prepend=-1))
    for number, chosen in zip(of_group[starts].tolist(), np.split(member, starts[1:]), strict=True):
        part = rows.take(chosen)
        is_resident = np.repeat(home_group[chosen] == number, part.n_visits)
        yield number, part.visiting(is_resident | (group_of[part.visits] == number))


def _schema(prefix_width: int) -> pa.Schema:
    columns: list[tuple[str, pa.DataType]] = [
        ("position", pa.int32()),
        ("vector", pa.int64()),
        ("vector_crc", pa.uint32()),
        ("key", pa.list_(pa.uint64(), 2)),
        ("home", pa.int32()),
        ("visits", pa.list_(pa.int32())),
    ]
    columns += [("prefix", pa.list_(pa.float32(), prefix_width))] * bool(prefix_width)
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])


def _batch(rows: CellRows, schema: pa.Schema) -> pa.RecordBatch:
    offsets = np.concatenate([[0], np.cumsum(rows.n_visits)]).astype(np.int32)
    columns = {
        "position": rows.position,
        "vector": rows.vector,
        "vector_crc": rows.vector_crc,
        "key": pa.FixedSizeListArray.from_arrays(pa.array(rows.key.reshape(-1)), 2),
        "home": rows.home,
        "visits": pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.visits)),
    }
    if width := rows.prefix.shape[1]:
        numbers = pa.array(rows.prefix.reshape(-1))
        columns["prefix"] = pa.FixedSizeListArray.from_arrays(numbers, width)
    return pa.record_batch(columns, schema=schema)


def _rows_of(batch: pa.RecordBatch) -> CellRows:
    n_visits = batch["visits"].value_lengths().to_numpy(zero_copy_only=False)
    prefix = np.zeros((len(batch), 0), np.float32)
    if "prefix" in batch.schema.names:
        prefix = batch["prefix"].flatten().to_numpy().reshape(len(batch), -1)
    return CellRows(
        position=batch["position"].to_numpy(),
        vector=batch["vector"].to_numpy(),
        vector_crc=batch["vector_crc"].to_numpy(),
        key=batch["key"].flatten().to_numpy().reshape(-1, 2),
        home=batch["home"].to_numpy(),
        n_visits=n_visits.astype(np.int32),
        visits=batch["visits"].flatten().to_numpy(),
        prefix=prefix,
    )


def read_cell_rows(store: Store, shard: str, group: int) -> tuple[CellRows, StoredVectors] | None:
    """What a shard brings to a cell group, and where its vectors lie; None if nothing.

    Raises:
        FileNotFoundError: there is no file of this shard.
        DamagedFileError: it does not hold what was written.
    """
    with _opened(store, layout.cell_rows(shard)) as (reader, told):
        if group not in told[_GROUPS]:
            return None
        number = told[_GROUPS].index(group)
        rows = _rows_of(reader.get_batch(number))
        if rows.checksum() != told[_CHECKSUMS][number]:
            raise ValueError(f"the images of cell group {group} are not those that were written")
        dtype, width = told[_VECTORS]
        return rows, StoredVectors(shard, rows.vector, rows.vector_crc, np.dtype(dtype), width)


@contextmanager
def _opened(store: Store, name: str) -> Iterator[tuple[pa.RecordBatchFileReader, dict[bytes, Any]]]:
    with named_damage(store, name), ExitStack() as stack:
        file = pa.OSFile(store.path(name)) if store.is_local else store.open(name)
        reader = stack.enter_context(pa.ipc.open_file(stack.enter_context(file)))
        yield reader, {key: json.loads(value) for key, value in reader.schema.metadata.items()}
