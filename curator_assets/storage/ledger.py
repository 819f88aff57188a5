"""What was made from what: one small JSON file beside the data for each partition.

An entry is written last, so it vouches for files that are whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

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


class Ledger:
    """The entries of one store; what was read once is not read again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str | None], Entry | None] = {}

    def read(self, asset: str, partition: str | None = None) -> Entry | None:
        """The entry of a partition, or None if it was never made (or its entry is damaged)."""
        key = asset, partition
        if key not in self._known:
            self._known[key] = self._load(asset, partition)
        return self._known[key]

    def _load(self, asset: str, partition: str | None) -> Entry | None:
        try:
            with self._store.open(layout.ledger(asset, partition)) as file:
                return Entry(**json.load(file))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None

    def write(self, asset: str, partition: str | None, entry: Entry) -> None:
        """Record that a partition was made; its files must be in place."""
        with self._store.write(layout.ledger(asset, partition)) as file:
            file.write(json.dumps(asdict(entry), sort_keys=True).encode())
        self._known[asset, partition] = entry

    def remove(self, asset: str, partition: str | None = None) -> None:
        """Forget a partition."""
        self._store.remove(layout.ledger(asset, partition))
        self._known[asset, partition] = None

    def missing_files(self, entry: Entry) -> list[str]:
        """The files of an entry that are gone, or of another size."""
        return [name for name, size in entry.files.items() if self._store.size(name) != size]

    def data_version(self, asset: str, partition: str | None = None) -> str | None:
        """The content hash of what was made, or None if nothing was."""
        entry = self.read(asset, partition)
        return entry.data_version if entry else None


def hash_of(*parts: object) -> str:
    """A 128-bit hex hash of plain JSON values (order of mapping keys aside)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_jsonable)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _jsonable(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"can't hash a {type(value).__name__}")


def hash_files(store: Store, names: list[str]) -> tuple[str, dict[str, int]]:
    """A 128-bit hex hash of the bytes of some files, and the size of each."""
    digest = hashlib.sha256()
    sizes = {}
    for name in names:
        with store.open(name) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())  # type: ignore[arg-type]
            sizes[name] = file.tell()
    return digest.hexdigest()[:32], sizes
