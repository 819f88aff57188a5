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
from curator_assets.storage.store import Store


class OutputError(UserError):
    """Nothing can be written under `output`."""


def require_writable(store: Store) -> None:
    """Write something and take it away again; no folder is made.

    Raises:
        OutputError: nothing can be written; says why.
    """
    try:
        if store.is_local:
            tempfile.TemporaryFile(dir=_nearest_folder(store)).close()
            return
        name = store.path(f".probe-{uuid.uuid4().hex}")
        store.fs.pipe_file(name, b"")
        store.fs.rm_file(name)
    except Exception as error:  # each kind of storage raises its own
        reason = getattr(error, "strerror", None) or str(error)
        where = _nearest(store) if store.is_local else store.root
        raise OutputError(
            f"output {store.location}: nothing can be written there ({reason}: {where}); expected "
            "a folder that this user may write to, on a disk that is mounted for writing: set "
            "'output' in the settings to one"
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
