"""What was made from what: small files beside the data for each partition.

An entry is written last, so it vouches for files that are whole. What was reported of a partition,
its metadata, lies apart: it holds pictures and tables and is seldom read.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from curator_assets.storage import layout
from curator_assets.storage.entries import (
    Entry,
    Picture,
    StoredFile,
    decoded,
    decoded_metadata,
    encoded,
    encoded_metadata,
    readable,
)
from curator_assets.storage.store import Store

__all__ = [
    "Entry",
    "Ledger",
    "Picture",
    "StoredFile",
    "hash_file",
    "hash_files",
    "hash_of",
    "version_of",
]


class Ledger:
    """The entries of one store; what was read once is not read again, but for its metadata.

    Several threads may use one, as long as no two of them write one partition.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, dict[str | None, Entry | None]] = {}
        self._read_whole = set[str]()
        self._lock = threading.Lock()

    def read(self, asset: str, partition: str | None = None) -> Entry | None:
        """The entry of a partition, or None if it was never made (or its entry is damaged)."""
        with self._lock:
            known = self._known.setdefault(asset, {})
            if partition in known or (partition is not None and asset in self._read_whole):
                return known.get(partition)
        try:
            entry = readable(self._store.read(layout.ledger(asset, partition)))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            entry = None
        with self._lock:  # what was written meanwhile is newer
            return known.setdefault(partition, entry)

    def read_all(self, asset: str) -> Mapping[str, Entry]:
        """The entry of every partition of an asset, in name order; damaged ones are left out."""
        with self._lock:
            known = self._known.setdefault(asset, {})
            seen, is_read = set(known), asset in self._read_whole
        found = {} if is_read else dict(self._load_all(asset, seen))
        with self._lock:
            for partition, entry in found.items():
                known.setdefault(partition, entry)
            self._read_whole.add(asset)
            entries = {name: entry for name, entry in known.items() if name is not None and entry}
        return dict(sorted(entries.items()))

    def _load_all(self, asset: str, seen: set[str | None]) -> Iterator[tuple[str, Entry | None]]:
        partitions = dict[str, str]()
        for name in self._store.names(layout.ledger_folder(asset)):
            partition = layout.ledger_partition(asset, name)
            if partition is not None and partition not in seen:
                partitions[name] = partition
        for name, data in self._store.read_each(partitions):
            yield partitions[name], readable(data)

    def unreadable(self, asset: str) -> Iterator[str | None]:
        """The partitions of an asset whose entries are there and damaged; None: its own."""
        whole = layout.ledger(asset, None)
        for name, data in self._store.read_each([whole]):
            if name == whole and readable(data) is None:
                yield None
        for partition, entry in self._load_all(asset, set()):
            if entry is None:
                yield partition

    def read_metadata(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        """What was reported of a partition, in name order; empty if nothing was.

        Raises:
            ValueError: it is damaged; says what to do.
        """
        name, entry = layout.metadata(asset, partition), self.read(asset, partition)
        try:
            data = self._store.read(name)
            if entry and entry.reported.get(name) != _stored_file(data):
                raise ValueError("it does not hold what was recorded")
            values, pictures = decoded_metadata(data)
        except FileNotFoundError:
            return {}
        except (ValueError, IsADirectoryError) as error:
            raise self._damaged(name, str(error), asset, partition) from error
        for title, kind in pictures.items():
            picture = layout.picture(asset, partition, title, kind)
            try:
                values[title] = Picture(self._store.read(picture), kind)
            except (FileNotFoundError, IsADirectoryError) as error:
                raise self._damaged(picture, "it is gone", asset, partition) from error
        return dict(sorted(values.items()))

    def _damaged(self, name: str, why: str, asset: str, partition: str | None) -> ValueError:
        entry = self._store.url(layout.ledger(asset, partition))
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
            metadata: what to report of it, plain JSON values and pictures.

        Raises:
            TypeError: a value is not plain JSON. Nothing was written.
            ValueError: a field of the entry is of another type. Nothing was written.
        """
        reported = encoded_metadata(metadata)
        before = self._pictures(asset, partition)
        pictures = {
            layout.picture(asset, partition, title, value.kind): value.data
            for title, value in metadata.items()
            if isinstance(value, Picture)
        }
        beside = {layout.metadata(asset, partition): reported} if metadata else {}
        hashes = {name: _stored_file(content) for name, content in (beside | pictures).items()}
        data = encoded(replace(entry, reported=hashes))
        recorded = decoded(data)
        for name, picture in pictures.items():
            self._write(name, picture)
        if metadata:
            self._write(layout.metadata(asset, partition), reported)
        elif before is not None:
            self._store.remove(layout.metadata(asset, partition))
        self._write(layout.ledger(asset, partition), data)
        with self._lock:
            self._known.setdefault(asset, {})[partition] = recorded
        for name in set(before or ()) - set(pictures):
            self._store.remove(name)

    def _write(self, name: str, data: bytes) -> None:
        with self._store.write(name) as file:
            file.write(data)

    def remove(self, asset: str, partition: str | None = None) -> None:
        """Forget a partition: its entry first, what names its pictures last."""
        self._store.remove(layout.ledger(asset, partition))
        with self._lock:
            self._known.setdefault(asset, {})[partition] = None
        pictures = self._pictures(asset, partition)
        for name in pictures or ():
            self._store.remove(name)
        if pictures is not None:
            self._store.remove(layout.metadata(asset, partition))

    def _pictures(self, asset: str, partition: str | None) -> list[str] | None:
        """The files of a partition's pictures; None if it has no metadata."""
        try:
            _, pictures = decoded_metadata(self._store.read(layout.metadata(asset, partition)))
        except FileNotFoundError:
            return None
        except (ValueError, IsADirectoryError):
            return []
        return [layout.picture(asset, partition, title, kind) for title, kind in pictures.items()]

    def missing_files(self, entry: Entry) -> list[str]:
        """The files of an entry that are gone, or of another size."""
        return [name for name, file in entry.files.items() if self._size(name) != file.n_bytes]

    def _size(self, name: str) -> int | None:
        if not self._store.is_local:
            return self._store.size(name)
        try:
            return os.stat(self._store.path(name)).st_size  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None


def _stored_file(data: bytes) -> StoredFile:
    return StoredFile(len(data), hashlib.sha256(data).hexdigest())


def hash_of(*parts: object) -> str:
    """A 128-bit hex hash of plain JSON values (order of mapping keys aside)."""
    return hashlib.sha256(_ENCODER.encode(parts).encode()).hexdigest()[:32]


def _jsonable(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"can't hash a {type(value).__name__}")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_jsonable)


def hash_file(store: Store, name: str) -> StoredFile:
    """What the file called `name` holds.

    Raises:
        FileNotFoundError: there is none.
    """
    with store.open(name) as file:
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
        return StoredFile(file.seek(0, os.SEEK_END), digest.hexdigest())


def hash_files(store: Store, names: Sequence[str]) -> dict[str, StoredFile]:
    """What some files hold, in the order given."""
    return {name: hash_file(store, name) for name in names}


def version_of(files: Mapping[str, StoredFile]) -> str:
    """A 128-bit hex hash of the content of files, in order; whatever their names."""
    return hash_of(*(file.sha256 for file in files.values()))
