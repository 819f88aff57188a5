"""The segments of an index: added to, merged, and made again where they are lost or wrong.

What it knows is in the tables themselves: an index that is deleted costs reading two columns of
each table. A key is kept up to eight times, so that an image that lies everywhere has not as many
records as copies.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from curator_assets.storage import layout
from curator_assets.storage.content_index.segment import (
    DamagedSegmentError,
    Records,
    Segment,
    SegmentWriter,
    places_of,
    tables_and_rows,
)
from curator_assets.storage.store import Store
from curator_assets.storage.versions import hash_of

MAX_SEGMENTS = 8
MAX_PLACES = 8
"""Of one key."""

_RECORDS_AT_ONCE = 1 << 22


class Keys(NamedTuple):
    """The keys of one table.

    Attributes:
        table: its identity.
        keys: uint64 [R].
        rows: int64 [R], where they stand.
    """

    table: str
    keys: np.ndarray
    rows: np.ndarray


def note_damaged(store: Store, segment: str) -> None:
    """Have a segment made again by whoever writes the index next."""
    with store.write(layout.damaged(segment)) as file:
        file.write(b"")


class ContentIndex:
    """The segments below a store's folder of that name, as they were when they were looked for.

    One process at a time writes; any number may read.

    Args:
        store: where they lie.

    Attributes:
        segments: those that are whole.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.segments, self._unreadable = list[Segment](), list[str]()
        names = store.names(layout.INDEX)
        for name in filter(layout.is_segment, names):
            if layout.damaged(name) in names:
                self._unreadable.append(name)
                continue
            try:
                self.segments.append(Segment(store, name))
            except DamagedSegmentError:
                self._unreadable.append(name)
            except FileNotFoundError:  # it was merged meanwhile
                continue

    @property
    def tables(self) -> set[str]:
        """The identities of the tables that it leads to."""
        return {table for segment in self.segments for table in segment.tables}

    def add(self, tables: Iterable[Keys]) -> None:
        """Write segments of some tables."""
        held, n_held = list[Keys](), 0
        for keys in tables:
            held.append(keys)
            n_held += len(keys.keys)
            if n_held >= _RECORDS_AT_ONCE:
                self._write_new(held)
                held, n_held = [], 0
        if held:
            self._write_new(held)

    def tidy(self, tables: Container[str]) -> None:
        """Remove what is damaged, and merge segments until there are few.

        Args:
            tables: identities of those that are still there; others are forgotten in passing.
        """
        damaged = [segment for segment in self.segments if segment.is_damaged]
        self._drop(damaged)
        for name in self._unreadable:
            self._store.remove(name)
            self._store.remove(layout.damaged(name))
        self._unreadable.clear()
        self._drop([one for one in self.segments if not any(t in tables for t in one.tables)])
        while len(self.segments) > MAX_SEGMENTS:
            small = _to_merge(self.segments)
            try:
                merged = self._merged(small, tables)
            except DamagedSegmentError:
                self._drop([segment for segment in small if segment.is_damaged])
                continue
            self._drop([segment for segment in small if segment.name != merged.name])
            self.segments = [*(s for s in self.segments if s.name != merged.name), merged]

    def _drop(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            self._store.remove(segment.name)
            self.segments.remove(segment)

    def _write_new(self, tables: Sequence[Keys]) -> None:
        keys = np.concatenate([found.keys for found in tables])
        places = np.concatenate([places_of(i, found.rows) for i, found in enumerate(tables)])
        names = [found.table for found in tables]
        self.segments.append(self._write(names, [_sorted(Records(keys, places))]))

    def _merged(self, segments: Sequence[Segment], tables: Container[str]) -> Segment:
        """One segment instead of several, whose records are never all in memory."""
        names = list(dict.fromkeys(t for s in segments for t in s.tables if t in tables))
        numbers = {table: number for number, table in enumerate(names)}
        renumbered = [np.array([numbers.get(t, -1) for t in s.tables], np.int64) for s in segments]
        n_parts = sum(segment.n_records for segment in segments) // _RECORDS_AT_ONCE + 1
        edges = [2**64 * i // n_parts for i in range(n_parts + 1)]

        def parts() -> Iterable[Records]:
            for low, high in pairwise(edges):
                found = [
                    _renumbered(segment.between(low, high - 1), new)
                    for segment, new in zip(segments, renumbered, strict=True)
                ]
                yield _sorted(Records(*map(np.concatenate, zip(*found, strict=True))))

        return self._write(names, parts())

    def _write(self, tables: Sequence[str], parts: Iterable[Records]) -> Segment:
        name = layout.segment(hash_of(tables))
        with self._store.write(name) as file:
            writer = SegmentWriter(file, tables)
            for records in parts:
                writer.append(records)
            writer.finish()
        return Segment(self._store, name)


def _to_merge(segments: Sequence[Segment]) -> list[Segment]:
    """The small ones: a large one waits until the smaller ones hold as much as it does."""
    ascending = sorted(segments, key=lambda segment: segment.n_records)
    n_smaller, n = 0, 0
    for place, segment in enumerate(ascending):
        if segment.n_records <= n_smaller:
            n = place + 1
        n_smaller += segment.n_records
    return ascending[: max(n, 2)]


def _renumbered(records: Records, numbers: np.ndarray) -> Records:
    """With other numbers of tables; records of those with the number -1 are left out."""
    old, rows = tables_and_rows(records.places)
    new = numbers[old]
    is_there = new >= 0
    places = (new[is_there].astype(np.uint64) << np.uint64(32)) | rows[is_there].astype(np.uint64)
    return Records(records.keys[is_there], places)


def _sorted(records: Records) -> Records:
    """By key and place, at most `MAX_PLACES` of a key."""
    order = np.lexsort((records.places, records.keys))
    keys, places = records.keys[order], records.places[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else order
    lengths = np.diff(np.append(begins, len(keys)))
    rank = np.arange(len(keys)) - np.repeat(begins, lengths)
    return Records(keys[rank < MAX_PLACES], places[rank < MAX_PLACES])
