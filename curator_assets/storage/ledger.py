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
        fingerprint: hash of the code version, the settings and the inputs' data versions.
        data_version: hash of the content that came out.
        files: name below the store's root -> size in bytes.
        metadata: what was reported of it, plain JSON values.
        checks: name of each check that it passed -> what the check reported.
        warnings: name of each check that it failed without being held up -> likewise.
        state: what the asset itself wants to know next time, plain JSON values.
    """

    fingerprint: str
    data_version: str
    files: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


class Ledger:
    """The entries of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, asset: str, partition: str | None = None) -> Entry | None:
        """The entry of a partition, or None if it was never made (or its entry is damaged)."""
        try:
            with self._store.open(layout.ledger(asset, partition)) as file:
                return Entry(**json.load(file))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, TypeError):
            return None

    def write(self, asset: str, partition: str | None, entry: Entry) -> None:
        """Record that a partition was made; its files must be in place."""
        with self._store.write(layout.ledger(asset, partition)) as file:
            file.write(json.dumps(asdict(entry), sort_keys=True).encode())

    def remove(self, asset: str, partition: str | None = None) -> None:
        """Forget a partition."""
        self._store.remove(layout.ledger(asset, partition))

    def is_fresh(self, entry: Entry | None, fingerprint: str) -> bool:
        """Whether `entry` has this fingerprint and its files are still there, whole."""
        return (
            entry is not None
            and entry.fingerprint == fingerprint
            and all(self._store.size(name) == size for name, size in entry.files.items())
        )

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
