"""What was made from what: small files beside the data for each partition.

An entry is written last, so it vouches for files that are whole. What was reported of a partition,
its metadata, lies apart: it holds tables and is seldom read.

The token of the lease under which an entry was written is part of its name, and the highest is the
one that counts. So one who was taken over from, and writes all the same, replaces nothing newer.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from curator_assets.garbage import collected_later
from curator_assets.storage import layout
from curator_assets.storage.entries import (
    Entry,
    StoredFile,
    decoded,
    decoded_again,
    decoded_metadata,
    encoded,
    encoded_metadata,
    readable,
)
from curator_assets.storage.ledger_snapshot import Snapshot, write_pictured_snapshot, write_snapshot
from curator_assets.storage.store import Store
from curator_assets.storage.versions import file_of

__all__ = [
    "Entry",
    "Ledger",
    "StoredFile",
]

_MANY, _SHARE = 200, 1 / 16
"""So many entries, and such a share of an asset's, are opened rather than put into a snapshot."""

_SHARE_IN_BUCKET = 1 / 128
"""Likewise of a bucket, where opening an entry takes as long as a megabyte more of the snapshot."""


class _Stored(NamedTuple):
    """The tokens of a partition's entries, ascending, and the entry of the highest."""

    tokens: tuple[int, ...]
    entry: Entry | None


class Ledger:
    """The entries of one store; what was read once is not read again, but for its metadata.

    Several threads may use one, as long as no two of them write one partition.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, dict[str | None, _Stored]] = {}
        self._read_ahead, self._read_whole = set[str](), set[str]()
        self._all = dict[str, Mapping[str, Entry]]()
        self._apart = Counter[str]()
        self._lock = threading.Lock()

    def read(self, asset: str, partition: str | None = None) -> Entry | None:
        """The entry of a partition, or None if it was never made (or its entry is damaged)."""
        try:
            return self._known[asset][partition].entry
        except KeyError:
            pass
        if partition is not None and asset in self._read_whole:
            return None
        found = self._look(asset, partition)
        with self._lock:  # what was written meanwhile is newer
            return self._known.setdefault(asset, {}).setdefault(partition, found).entry

    def _look(self, asset: str, partition: str | None) -> _Stored:
        tokens = list[int]()
        while True:
            before, tokens = tokens, self._tokens(asset, partition)
            if not tokens or tokens == before:
                return _Stored((), None)
            try:
                data = self._store.read(layout.ledger(asset, partition, tokens[-1]))
            except FileNotFoundError:  # a newer one has come
                continue
            except IsADirectoryError:
                return _Stored((), None)
            return _Stored(tuple(tokens), readable(data))

    def names(self, asset: str, partition: str | None = None) -> list[str]:
        """The files of a partition's entry as they lie now; only the last of them counts."""
        tokens = self._tokens(asset, partition)
        return [layout.ledger(asset, partition, token) for token in tokens]

    def _tokens(self, asset: str, partition: str | None) -> list[int]:
        begin = layout.ledger(asset, partition).removesuffix("json")
        found = (
            layout.ledger_token(asset, partition, name)
            for name in self._store.names_beginning(begin)
        )
        return sorted(token for token in found if token is not None)

    def read_ahead(self, asset: str) -> None:
        """Read the entries of an asset's partitions in bulk, to be asked for one by one.

        What another process records of other partitions is found all the same.
        """
        if asset not in self._read_ahead | self._read_whole:
            self._load_all(asset)
            self._read_ahead.add(asset)

    def read_all(self, asset: str) -> Mapping[str, Entry]:
        """The entry of every partition of an asset, in name order; damaged ones are left out."""
        if asset not in self._read_whole:
            self._load_all(asset)
            self._read_whole.add(asset)
        with self._lock:
            if asset not in self._all:
                known = self._known[asset].items()
                entries = {name: at.entry for name, at in known if name is not None and at.entry}
                self._all[asset] = dict(sorted(entries.items()))
            return self._all[asset]

    @collected_later()
    def _load_all(self, asset: str) -> None:
        with self._lock:
            known = self._known.setdefault(asset, {})
            seen = set(known)
        found = dict(self._stored_besides(asset, seen, Snapshot(self._store, asset)))
        with self._lock:  # what was written meanwhile is newer
            for partition, stored in found.items():
                known.setdefault(partition, stored)
            self._all.pop(asset, None)

    def _stored_besides(
        self, asset: str, seen: set[str | None], snapshot: Snapshot | None = None
    ) -> Iterator[tuple[str, _Stored]]:
        """The partitions of an asset that were not seen; what can't be taken of a snapshot is read.

        The folder is listed first, so a snapshot may be as old as it will.
        """
        marks = self._store.marks(layout.ledger_folder(asset))
        tokens = defaultdict[str, list[int]](list)
        for name in marks:
            partition, token = layout.ledger_parts(asset, name) or (None, 0)
            if partition is not None and partition not in seen:
                tokens[partition].append(token)
        left = dict[str, str]()
        for partition, found in tokens.items():
            found.sort()
            name = layout.ledger(asset, partition, found[-1])
            if snapshot is not None and (line := snapshot.line(name, marks[name])):
                yield partition, _Stored(tuple(found), decoded_again(line))
            else:
                left[name] = partition
        if snapshot is not None and tokens:  # or it is not even opened
            with self._lock:
                self._apart[asset] += len(left) + max(0, len(snapshot) - len(marks))
        for name, data in self._store.read_each(list(left)):
            partition = left.pop(name)
            yield partition, _Stored(tuple(tokens[partition]), readable(data))
        for partition in left.values():  # its entry was replaced meanwhile
            yield partition, self._look(asset, partition)

    def write_snapshots(self) -> None:
        """Spare the next one to open files of which this one had to open or to write many.

        Raises:
            LeaseLostError: another has taken over the output.
        """
        with self._lock:
            apart, self._apart = self._apart, Counter()
            n_known = {asset: len(self._known.get(asset, ())) for asset in apart}
        for asset, n_apart in apart.items():
            if not self._store.is_pictured and n_apart > _MANY + n_known[asset] * _SHARE:
                write_snapshot(self._store, asset)
            elif self._store.is_pictured and n_apart > n_known[asset] * _SHARE_IN_BUCKET:
                self.read_all(asset)
                with self._lock:
                    known = self._known[asset].items()
                entries = {
                    layout.ledger(asset, partition, at.tokens[-1]): at.entry
                    for partition, at in known
                    if partition is not None and at.entry
                }
                write_pictured_snapshot(self._store, asset, entries)

    def unreadable(self, asset: str) -> Iterator[tuple[str | None, str]]:
        """The partitions of an asset whose entries are damaged, and their files; None: its own."""
        for partition, stored in [
            (None, self._look(asset, None)),
            *self._stored_besides(asset, set()),
        ]:
            if stored.tokens and stored.entry is None:
                yield partition, layout.ledger(asset, partition, stored.tokens[-1])

    def read_metadata(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        """What was reported of a partition, in name order; empty if nothing was.

        Raises:
            ValueError: it is damaged; says what to do.
        """
        name, entry = layout.metadata(asset, partition), self.read(asset, partition)
        try:
            data = self._store.read(name)
            if entry and entry.reported.get(name) != file_of(data):
                raise ValueError("it does not hold what was recorded")
            values = decoded_metadata(data)
        except FileNotFoundError:
            return {}
        except (ValueError, IsADirectoryError) as error:
            raise self._damaged(name, str(error), asset, partition) from error
        return dict(sorted(values.items()))

    def _damaged(self, name: str, why: str, asset: str, partition: str | None) -> ValueError:
        names = self.names(asset, partition) or [layout.ledger(asset, partition)]
        entry = self._store.url(names[-1])
        return ValueError(
            f"the metadata in {self._store.url(name)} is damaged ({why}): what was reported is "
            f"lost, and no result; delete {entry}, and its partition is made and reported again"
        )

    def write(
        self, asset: str, partition: str | None, entry: Entry, metadata: Mapping[str, Any] = {}
    ) -> None:
        """Record that a partition was made; its files must be in place.

        Args:
            asset: that it is a partition of.
            partition: its name; None for an asset without partitions.
            entry: how it was made.
            metadata: what to report of it, plain JSON values.

        Raises:
            TypeError: a value is not plain JSON. Nothing was written.
            ValueError: a field of the entry is of another type. Nothing was written.
            LeaseLostError: another has taken over the output.
        """
        reported = encoded_metadata(metadata)
        earlier = self._stored_tokens(asset, partition)
        guard = self._store.guard
        token = guard.token if guard else max(earlier, default=0)
        beside = layout.metadata(asset, partition)
        data = encoded(replace(entry, reported={beside: file_of(reported)} if metadata else {}))
        recorded = decoded(data)
        if metadata:
            self._write(beside, reported)
        else:
            self._store.remove(beside)
        self._write(layout.ledger(asset, partition, token), data)
        for other in earlier:  # a higher one is no newer holder's, or the guard would not agree
            if other != token:
                self._store.remove(layout.ledger(asset, partition, other))
        self._changed(asset, partition, _Stored((token,), recorded))

    def _changed(self, asset: str, partition: str | None, stored: _Stored) -> None:
        with self._lock:
            self._known.setdefault(asset, {})[partition] = stored
            self._all.pop(asset, None)
            self._apart[asset] += partition is not None

    def _stored_tokens(self, asset: str, partition: str | None) -> Sequence[int]:
        with self._lock:
            known = self._known.get(asset, {})
            if partition in known:
                return known[partition].tokens
            if partition is not None and asset in self._read_whole:
                return ()
        return self._tokens(asset, partition)

    def _write(self, name: str, data: bytes) -> None:
        with self._store.write(name) as file:
            file.write(data)

    def remove(self, asset: str, partition: str | None = None) -> None:
        """Forget a partition, its entry first."""
        for name in self.names(asset, partition):  # the one that counts goes last
            self._store.remove(name)
        self._changed(asset, partition, _Stored((), None))
        self._store.remove(layout.metadata(asset, partition))

    def missing_files(self, entry: Entry) -> list[str]:
        """The files of an entry that are gone, or of another size."""
        size = self._store.size
        return [name for name, file in entry.files.items() if size(name) != file.n_bytes]
