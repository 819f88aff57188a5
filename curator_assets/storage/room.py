"""Whether something can be written under `output`, and how much."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

from curator_assets.errors import UserError
from curator_assets.storage import layout
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.bucket.errors import StoreRefusedError
from curator_assets.storage.store import Store


class OutputError(UserError):
    """Nothing can be written under `output`."""


def require_writable(store: Store) -> None:
    """Write something and take it away again; no folder is made.

    Raises:
        OutputError: nothing can be written; says why.
        StoreRefusedError: a bucket answers nobody who asks like this.
    """
    if not store.is_local:
        _require_writable_bucket(store)
        return
    try:
        tempfile.TemporaryFile(dir=_nearest_folder(store)).close()
    except OSError as error:
        raise OutputError(
            f"output {store.location}: nothing can be written there ({error.strerror}: "
            f"{_nearest(store)}); expected a folder that this user may write to, on a disk that is "
            "mounted for writing: set 'output' in the settings to one"
        ) from error


def _require_writable_bucket(store: Store) -> None:
    bucket, name = Bucket(store.fs, store.root), layout.probe(uuid.uuid4().hex)
    try:
        with bucket.write(name, lambda: None) as file:
            file.write(b"probe")
        bucket.remove(name)
    except StoreRefusedError:
        raise
    except OSError as error:
        raise OutputError(
            f"output {store.location}: nothing can be written there: {error.strerror}; mend that, "
            "or set 'output' in the settings to where this machine may write"
        ) from error


def free_bytes(store: Store) -> int | None:
    """What the disk has room for; None for a bucket.

    Raises:
        NotADirectoryError: a part of the path is a file.
    """
    return shutil.disk_usage(_nearest_folder(store)).free if store.is_local else None


def _nearest_folder(store: Store) -> Path:
    """The root, or what is there of the path to it; raises NotADirectoryError for a file."""
    path = _nearest(store)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return path


def _nearest(store: Store) -> Path:
    path = Path(store.root)
    with suppress(PermissionError):  # it is there, but may not be entered
        while not path.exists():
            path = path.parent
    return path
