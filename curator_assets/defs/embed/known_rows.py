"""The rows of images that were seen before: in this run, or in what is stored."""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from queue import SimpleQueue
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from curator_assets.defs.embed.image_rows import (
    NO_IMAGE,
    STORED,
    TOO_MANY_BYTES,
    ImageRow,
    take_stored,
)
from curator_assets.defs.embed.read_samples import PART_BYTES, Begun, Part
from curator_assets.defs.embed.stored_tables import StoredTable, StoredTables
from curator_assets.engine.workers.task import Supervision
from curator_assets.errors import DamagedFileError
from curator_assets.kernels.image_format import sniff_format
from curator_assets.storage.content_index.index import ContentIndex, Keys, note_damaged
from curator_assets.storage.content_index.segment import Segment, keys_of, tables_and_rows
from curator_assets.storage.local_files import own_folder
from curator_assets.storage.retries import with_retries
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import Sample, content_hash
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_rows

_MAX_IN_MEMORY = 1 << 15
"""Rows of this run that are known without reading a table."""

_MAX_BEHIND = 1 << 13
"""Samples that are read before rows are fetched which an earlier one waits for: a table is then
opened once for many."""


class _Hit(NamedTuple):
    """A row that is stored: where, and where the image lies if it must be read again."""

    row: ImageRow
    table: str  # its identity
    number: int
    segment: Segment
    shard: str
    offset: int
    n_bytes: int


class KnownRows:
    """Finds the rows of images that were seen before; a context, whose end lets go of all of it.

    Args:
        tars: where images are read again if a stored row turns out to be none.
        store: where tables lie.
        tables: from which rows may be taken.
        supervision: says which images are not to be touched.
        log: told of tables that can't be read.
    """

    def __init__(
        self,
        tars: Source,
        store: Store,
        tables: StoredTables,
        supervision: Supervision,
        log: logging.Logger,
    ) -> None:
        self._tars, self._store, self._log = tars, store, log
        self._tables = dict(tables.by_identity)
        self._supervision = supervision
        self._folder = own_folder()
        self._of_this_run = ContentIndex(Store(self._folder.name))
        self._segments = self._segments_before() if tables.by_identity else []
        self._finished = SimpleQueue[tuple[Keys, StoredTable]]()
        self._in_memory = OrderedDict[str, ImageRow]()
        self._hits, self._n_behind, self._shard = list[_Hit](), 0, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
        for segment in self._segments:
            if segment.is_damaged:
                with suppress(OSError):  # it is met again
                    note_damaged(self._store, segment.name)

    def _segments_before(self) -> list[Segment]:
        try:
            return list(ContentIndex(self._store).segments)
        except OSError as error:
            self._log.warning("what was embedded before is not looked up: %s", error)
            return []

    def add(
        self, table: str, at: StoredTable, keys: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """Know the rows of a table that was written; from any thread.

        Args:
            table: its identity.
            at: its place.
            keys: uint64 [R], of rows that may be shared, and int64 [R], their numbers.
        """
        if keys:
            together = Keys(table, *map(np.concatenate, zip(*keys, strict=True)))
            self._finished.put((together, at))

    def matched(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The parts, with the rows of their samples; the bytes of images that are known are let go.

        Parts without samples come between them once rows of earlier ones were filled in.
        """
        for part in parts:
            self._take_in_finished()
            new = self._assign_rows(part)
            part.to_decode = self._look_up(new)
            for item in part.items:
                if isinstance(item, Sample):
                    item.members.clear()
                    if item.image:
                        item.image.data = None
            self._n_behind += len(part.rows) if self._hits else 0
            yield part
            if self._n_behind >= _MAX_BEHIND:
                yield from self._fetched()
        yield from self._fetched()

    def _take_in_finished(self) -> None:
        while not self._finished.empty():
            keys, at = self._finished.get()
            self._tables[keys.table] = at
            self._of_this_run.add([keys])
            self._of_this_run.tidy(self._tables)

    def _assign_rows(self, part: Part) -> list[tuple[ImageRow, Sample, str]]:
        """Give each sample its row; those that are new, with their sample and shard."""
        new = list[tuple[ImageRow, Sample, str]]()
        for item in part.items:
            if isinstance(item, Begun):
                self._shard = item.shard
            if not isinstance(item, Sample):
                continue
            row = self._row_without_looking(item) or self._row_in_memory(item)
            if row is None:
                assert item.image is not None
                row = ImageRow(item.image.content_hash)
                self._remember(row)
                part.firsts.add(len(part.rows))
                new.append((row, item, self._shard))
            part.rows.append(row)
        return new

    def _row_without_looking(self, sample: Sample) -> ImageRow | None:
        """The row of a sample whose image is not decoded."""
        image = sample.image
        if image is None:
            return ImageRow(is_complete=True, error=NO_IMAGE)
        if image.data is None:
            return ImageRow(is_complete=True, error=TOO_MANY_BYTES)
        if not self._supervision.may_be_touched(image.content_hash):
            why = self._supervision.blamed.get(image.content_hash)
            return ImageRow(is_complete=True, error=why, format=sniff_format(image.data))
        return None

    def _row_in_memory(self, sample: Sample) -> ImageRow | None:
        assert sample.image is not None
        row = self._in_memory.get(sample.image.content_hash)
        return row if row and row.may_be_shared and not row.is_lost else None

    def _remember(self, row: ImageRow) -> None:
        self._in_memory[row.content_hash] = row
        if len(self._in_memory) > _MAX_IN_MEMORY:
            self._in_memory.popitem(last=False)

    def _look_up(self, new: Sequence[tuple[ImageRow, Sample, str]]) -> list[tuple[ImageRow, bytes]]:
        """Note which of some rows are stored; the others, with their images."""
        keys = keys_of([row.content_hash for row, _, _ in new])
        found: list[tuple[str, int, Segment] | None] = [None] * len(new)
        if len(keys):
            for segment in (*self._segments, *self._of_this_run.segments):
                which, places = self._find(segment, keys)
                tables, numbers = tables_and_rows(places)
                for i, table, number in zip(which, tables, numbers, strict=True):
                    identity = segment.tables[table]
                    if identity in self._tables and found[i] is None:
                        found[i] = identity, int(number), segment
        to_decode = list[tuple[ImageRow, bytes]]()
        for (row, sample, shard), at in zip(new, found, strict=True):
            image = sample.image
            assert image is not None
            assert image.data is not None
            if at is None:
                to_decode.append((row, image.data))
            else:
                self._hits.append(_Hit(row, *at, shard, image.offset, image.n_bytes))
        return to_decode

    def _find(self, segment: Segment, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return segment.find(keys)
        except OSError as error:
            self._log.warning("%s is left out: %s", segment.name, error)
            self._segments = [one for one in self._segments if one is not segment]
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)

    def _fetched(self) -> Iterator[Part]:
        """Fill in the rows that are stored; parts of those that turn out not to be."""
        hits, self._hits, self._n_behind = self._hits, [], 0
        hits.sort(key=lambda hit: (hit.table, hit.number))
        failed = list[_Hit]()
        for identity, of_table in groupby(hits, key=lambda hit: hit.table):
            wanted = list(of_table)
            table = self._read(identity, np.array([hit.number for hit in wanted]))
            if table is None:
                failed += wanted
                continue
            there = [hit.row for hit in wanted[: len(table)]]
            for i in (*take_stored(there, table), *range(len(there), len(wanted))):
                wanted[i].segment.is_damaged = True  # it leads to other images, or to no row
                failed.append(wanted[i])
        if hits:
            yield Part([])
        yield from self._read_again(failed)

    def _read(self, table: str, rows: np.ndarray) -> pa.Table | None:
        at = self._tables[table]
        try:
            return read_rows(self._store, at.name, at.sha256, rows, STORED)
        except (DamagedFileError, OSError) as error:
            self._log.warning("rows of %s are computed again: %s", at.name, error)
            return None

    def _read_again(self, failed: Sequence[_Hit]) -> Iterator[Part]:
        part, n_bytes = Part([]), 0
        for hit in failed:
            place = [(hit.offset, hit.n_bytes)]
            read = partial(self._tars.read_ranges, hit.shard, place)
            try:
                (data,) = with_retries(read, f"reading of shard {hit.shard!r}", self._log)
                is_same = content_hash(data) == hit.row.content_hash
            except OSError:
                is_same = False
            if not is_same:
                hit.row.is_lost = hit.row.is_complete = True
                continue
            part.to_decode.append((hit.row, data))
            n_bytes += len(data)
            if n_bytes >= PART_BYTES:
                yield part
                part, n_bytes = Part([]), 0
        if failed:
            yield part
