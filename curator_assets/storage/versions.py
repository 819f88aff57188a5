"""Hashes of values, of bytes and of files, by which versions are told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from curator_assets.storage.entries import StoredFile
from curator_assets.storage.store import Store


def file_of(data: bytes) -> StoredFile:
    """What a file of these bytes holds."""
    return StoredFile(len(data), hashlib.sha256(data).hexdigest())


def hash_of(*parts: object) -> str:
    """A 128-bit hex hash of plain JSON values (order of mapping keys aside)."""
    return hashlib.sha256(_ENCODER.encode(parts).encode()).hexdigest()[:32]


def _jsonable(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"can't hash a {type(value).__name__}")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_jsonable)


def stored_files(store: Store, names: Sequence[str]) -> dict[str, StoredFile]:
    """What some files hold, in the order given; what this process read or wrote is not read again.

    Raises:
        FileNotFoundError: one is not there.
    """
    return {name: store.known(name) or store.hash(name) for name in names}


def version_of(files: Mapping[str, StoredFile]) -> str:
    """A 128-bit hex hash of the content of files, in order; whatever their names."""
    return hash_of(*(file.sha256 for file in files.values()))
