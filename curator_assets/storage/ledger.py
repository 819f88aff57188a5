"""What was made from what: one small file beside the data for each partition.

An entry is written last, so it vouches for files that are whole. It is two lines of JSON: all that
staleness is decided by, and the metadata, which holds pictures and tables and is seldom read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Any

from curator_assets.storage import layout
from curator_assets.storage.store import Store


@dataclass(frozen=True)
class Entry:
    """How a partition was made.

    Attributes:
        fingerprint: hash of `inputs`.
        inputs: name -> version of the settings, the code and everything that it was made from.
        data_version: hash of the content that came out.
        files: name below the store's root -> size in bytes.
        metadata: what was reported of it, plain JSON values.
        checks: name of each check that it passed -> what the check reported.
        warnings: name of each check that it failed without being held up -> likewise.
        state: what the asset itself wants to know next time, plain JSON values.
    """

    fingerprint: str
    data_version: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


class _Reported(Mapping[str, Any]):
    """The metadata of an entry, read from its file when asked for.

    Kept for every partition it would fill the memory.
    """

    __slots__ = ("_asset", "_ledger", "_partition")

    def __init__(self, ledger: Ledger, asset: str, partition: str | None) -> None:
        self._ledger, self._asset, self._partition = ledger, asset, partition

    def _read(self) -> Mapping[str, Any]:
        return self._ledger.read_metadata(self._asset, self._partition)

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def items(self) -> ItemsView[str, Any]:  # or each item would read the file
        return self._read().items()


class Ledger:
    """The entries of one store; what was read once is not read again, but for its metadata."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str | None], Entry | None] = {}

    def read(self, asset: str, partition: str | None = None) -> Entry | None:
        """The entry of a partition, or None if it was never made (or its entry is damaged)."""
        key = asset, partition
        if key not in self._known:
            self._known[key] = self._load(asset, partition)
        return self._known[key]

    def read_metadata(self, asset: str, partition: str | None) -> dict[str, Any]:
        """The second line of an entry.

        Raises:
            FileNotFoundError: there is no entry.
            ValueError: the line is damaged; says what to do.
        """
        with self._open(asset, partition) as file:
            file.readline()
            try:
                metadata: dict[str, Any] = json.loads(file.readline())
            except ValueError as error:
                url = self._store.url(layout.ledger(asset, partition))
                raise ValueError(
                    f"the metadata in {url} is damaged ({error}); delete the file, and its "
                    "partition is made again"
                ) from error
        return metadata

    def _load(self, asset: str, partition: str | None) -> Entry | None:
        try:
            with self._open(asset, partition) as file:
                fields = json.loads(file.readline())
            # an entry that was written before metadata had a line of its own brings it along
            return Entry(**{"metadata": _Reported(self, asset, partition)} | fields)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _open(self, asset: str, partition: str | None) -> IO[bytes]:
        name = layout.ledger(asset, partition)
        # fsspec takes longer to open a local file than it takes to read and parse it
        local = self._store.is_local
        return open(self._store.path(name), "rb") if local else self._store.open(name)  # noqa: PTH123

    def write(self, asset: str, partition: str | None, entry: Entry) -> None:
        """Record that a partition was made; its files must be in place."""
        data = encoded(entry)
        with self._store.write(layout.ledger(asset, partition)) as file:
            file.write(data)
        reported = _Reported(self, asset, partition)
        self._known[asset, partition] = replace(entry, metadata=reported)

    def remove(self, asset: str, partition: str | None = None) -> None:
        """Forget a partition."""
        self._store.remove(layout.ledger(asset, partition))
        self._known[asset, partition] = None

    def missing_files(self, entry: Entry) -> list[str]:
        """The files of an entry that are gone, or of another size."""
        return [name for name, size in entry.files.items() if self._size(name) != size]

    def _size(self, name: str) -> int | None:
        if not self._store.is_local:
            return self._store.size(name)
        try:
            return os.stat(self._store.path(name)).st_size  # noqa: PTH116
        except FileNotFoundError:
            return None

    def data_version(self, asset: str, partition: str | None = None) -> str | None:
        """The content hash of what was made, or None if nothing was."""
        entry = self.read(asset, partition)
        return entry.data_version if entry else None


def encoded(entry: Entry) -> bytes:
    """The two lines of an entry's file."""
    fields = dict(vars(entry))
    metadata = dict(fields.pop("metadata").items())
    lines = (json.dumps(line, sort_keys=True) for line in (fields, metadata))
    return "".join(f"{line}\n" for line in lines).encode()


def hash_of(*parts: object) -> str:
    """A 128-bit hex hash of plain JSON values (order of mapping keys aside)."""
    return hashlib.sha256(_ENCODER.encode(parts).encode()).hexdigest()[:32]


def _jsonable(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"can't hash a {type(value).__name__}")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_jsonable)


def hash_files(store: Store, names: list[str]) -> tuple[str, dict[str, int]]:
    """A 128-bit hex hash of the bytes of some files, and the size of each."""
    digest = hashlib.sha256()
    sizes = {}
    for name in names:
        with store.open(name) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())  # type: ignore[arg-type]
            sizes[name] = file.tell()
    return digest.hexdigest()[:32], sizes
