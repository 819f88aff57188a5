"""One sorted file of keys and the places they lead to, of which a few blocks are read at a time.

A key is the first 64 bits of a content hash; a place is a table, by its number in the segment, and
a row in it. Whoever follows a place compares the whole hash: that two images share a key, or that
a segment is wrong, costs time and no result.

Records lie in blocks of 4 KiB. After them come the first key of each block, by which blocks are
found, and a checksum of each.

Legend: *N keys asked for, R records, B blocks*.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from curator_assets.storage.content_index.blocks import Blocks
from curator_assets.storage.store import Store

BLOCK_RECORDS = 256
_BLOCK = np.dtype([("keys", "<u8", BLOCK_RECORDS), ("places", "<u8", BLOCK_RECORDS)])
_U8 = np.dtype("<u8")
_NOWHERE = np.uint64(2**64 - 1)
_ROW_BITS = np.uint64(32)
_ROW_MASK = np.uint64(2**32 - 1)
_ODD = np.arange(1, 4 * BLOCK_RECORDS, 2, dtype=np.uint64)
"""Weights of a checksum that any one changed word changes."""


class DamagedSegmentError(ValueError):
    """A segment does not hold what was written."""


class Records(NamedTuple):
    """Keys and places, uint64 [R] each, keys ascending."""

    keys: np.ndarray
    places: np.ndarray


def keys_of(content_hashes: Sequence[str]) -> np.ndarray:
    """uint64 [N]: the keys of content hashes in hex."""
    digits = "".join(content_hash[:16] for content_hash in content_hashes)
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)


def places_of(table: int, rows: np.ndarray) -> np.ndarray:
    """uint64 [R]: the places of rows of the table with this number."""
    return (np.uint64(table) << _ROW_BITS) | rows.astype(np.uint64)


def tables_and_rows(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [R] each: the inverse of `places_of`."""
    return (places >> _ROW_BITS).astype(np.int64), (places & _ROW_MASK).astype(np.int64)


class SegmentWriter:
    """Writes a segment, record by record, to an open file.

    Args:
        file: to write to.
        tables: the identities of the tables, whose places in this list are their numbers.
    """

    def __init__(self, file: IO[bytes], tables: Sequence[str]) -> None:
        self._file, self._tables = file, list(tables)
        self._held = Records(np.zeros(0, _U8), np.zeros(0, _U8))
        self._firsts, self._checks, self._n = list[np.ndarray](), list[np.ndarray](), 0

    def append(self, records: Records) -> None:
        """Add records, whose keys are no smaller than those before."""
        self._n += len(records.keys)
        held = Records(*(np.concatenate(pair) for pair in zip(self._held, records, strict=True)))
        n_whole = len(held.keys) // BLOCK_RECORDS * BLOCK_RECORDS
        self._write(Records(*(part[:n_whole] for part in held)))
        self._held = Records(*(part[n_whole:] for part in held))

    def finish(self) -> None:
        """Write the last block and what blocks are found by."""
        n_missing = -len(self._held.keys) % BLOCK_RECORDS
        filled = (np.concatenate([part, np.full(n_missing, _NOWHERE)]) for part in self._held)
        self._write(Records(*filled))
        empty = np.zeros(0, _U8)
        fence = b"".join(
            np.concatenate([empty, *p]).tobytes() for p in (self._firsts, self._checks)
        )
        self._file.write(fence)
        told = {"n_records": self._n, "tables": self._tables}
        told |= {"fence": hashlib.sha256(fence).hexdigest()}
        line = json.dumps(told).encode()
        self._file.write(line + hashlib.sha256(line).digest())
        self._file.write(len(line).to_bytes(8, "little"))

    def _write(self, records: Records) -> None:
        blocks = np.zeros(len(records.keys) // BLOCK_RECORDS, _BLOCK)
        blocks["keys"] = records.keys.reshape(-1, BLOCK_RECORDS)
        blocks["places"] = records.places.reshape(-1, BLOCK_RECORDS)
        self._file.write(blocks.tobytes())
        self._firsts.append(blocks["keys"][:, 0].astype(_U8))
        self._checks.append(_checks(blocks))


class Segment:
    """A segment as it lies in a store; its blocks are read when they are asked for.

    Args:
        store: where it lies.
        name: its name there.

    Attributes:
        tables: identities of its tables.
        n_records: R.
        is_damaged: a block was met that does not hold what was written.

    Raises:
        DamagedSegmentError: it is not whole.
        FileNotFoundError: there is none.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self.name, self.is_damaged = store, name, False
        try:
            with store.open(name) as file:
                told, end = _read_told(file)
                self.tables: list[str] = told["tables"]
                self.n_records: int = told["n_records"]
                n_blocks = -(-self.n_records // BLOCK_RECORDS)
                file.seek(n_blocks * _BLOCK.itemsize)
                fence = file.read(max(end - file.tell(), 0))
            if len(fence) != 16 * n_blocks or _sha256(fence) != told["fence"]:
                raise ValueError("what its blocks are found by is not what was written")
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedSegmentError(f"{store.url(name)} is damaged: {error}") from error
        self._firsts, self._checks = np.frombuffer(fence, _U8).reshape(2, n_blocks)
        self._blocks = Blocks(store, name, _BLOCK, n_blocks)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places that some keys lead to.

        Args:
            keys: uint64 [N].

        Returns:
            int64 and uint64 [M]: which of the keys, and a place of it.
        """
        first = np.maximum(np.searchsorted(self._firsts, keys, "left") - 1, 0)
        last = np.searchsorted(self._firsts, keys, "right") - 1
        blocks, numbers = self._sound_blocks(np.unique(_spans(first, last + 1)[1]))
        found, places = blocks["keys"].reshape(-1), blocks["places"].reshape(-1)
        at = (numbers[:, None] * BLOCK_RECORDS + np.arange(BLOCK_RECORDS)).reshape(-1)
        which, where = _spans(np.searchsorted(found, keys), np.searchsorted(found, keys, "right"))
        is_record = at[where] < self.n_records
        return which[is_record], places[where[is_record]]

    def between(self, low: int, high: int) -> Records:
        """The records with `low` <= key <= `high`.

        Raises:
            DamagedSegmentError: a block does not hold what was written.
        """
        start = max(0, int(np.searchsorted(self._firsts, np.uint64(low), "left")) - 1)
        stop = int(np.searchsorted(self._firsts, np.uint64(high), "right"))
        blocks, _ = self._sound_blocks(np.arange(start, stop))
        if self.is_damaged:
            raise DamagedSegmentError(f"{self._store.url(self.name)} is damaged")
        n_whole = min(stop * BLOCK_RECORDS, self.n_records) - start * BLOCK_RECORDS
        keys, places = (blocks[part].reshape(-1)[:n_whole] for part in ("keys", "places"))
        wanted = (keys >= np.uint64(low)) & (keys <= np.uint64(high))
        return Records(keys[wanted], places[wanted])

    def _sound_blocks(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Blocks of these numbers, ascending, but for damaged ones; and their numbers."""
        blocks = self._blocks.read(numbers)
        is_sound = _checks(blocks) == self._checks[numbers]
        self.is_damaged |= not is_sound.all()
        return blocks[is_sound], numbers[is_sound]


def _read_told(file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """What the last line says, and where in the file it begins."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 8, 0))
    start = size - 8 - 32 - int.from_bytes(file.read(8), "little")
    if start < 0:
        raise ValueError("it was cut, or is none")
    file.seek(start)
    sealed = file.read(size - 8 - start)
    line, seal = sealed[:-32], sealed[-32:]
    if hashlib.sha256(line).digest() != seal:
        raise ValueError("its last line is not what was written")
    told: dict[str, Any] = json.loads(line)
    return told, start


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checks(blocks: np.ndarray) -> np.ndarray:
    """uint64 [B]: a checksum of each block."""
    words = np.ascontiguousarray(blocks).view(np.uint64).reshape(len(blocks), 2 * BLOCK_RECORDS)
    return np.asarray((words * _ODD).sum(axis=1, dtype=np.uint64))


def _spans(starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [M] each: the number of a span, and a place in it, for all places of all spans."""
    lengths = np.maximum(stops - starts, 0)
    which = np.repeat(np.arange(len(starts)), lengths)
    begun = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return which, np.arange(lengths.sum()) - begun + np.repeat(starts, lengths)
