"""Whether something can be written under `output`, and how much."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from curator_assets.errors import UserError
from curator_assets.storage import layout
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.bucket.errors import StoreRefusedError
from curator_assets.storage.bucket.leftovers import MAX_AGE, abort_old_uploads
from curator_assets.storage.bucket.outage import StoreAwayError
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
    bucket, name = Bucket(store.fs, store.root), new_probe()
    try:
        with bucket.write(name) as file:
            file.write(b"probe")
        bucket.remove(name)
    except StoreRefusedError:
        raise
    except (OSError, StoreAwayError) as error:  # what it holds may be read all the same
        why = error.strerror if isinstance(error, OSError) else error
        raise OutputError(
            f"output {store.location}: nothing can be written there: {why}; mend that, or set "
            "'output' in the settings to where this machine may write"
        ) from error


def new_probe() -> str:
    """A name that no other probe has."""
    return layout.probe(int(time.time()), uuid.uuid4().hex)


def remove_leftovers(store: Store) -> int:
    """Remove what killed processes left in a bucket more than a day ago; how many.

    To be called under the lease. Of a local output each file is written beside what
    `local_files.written` finds and removes.

    Raises:
        OSError: it can't be listed or removed.
    """
    if store.is_local:
        return 0
    oldest = time.time() - MAX_AGE.total_seconds()
    probes = [(name, layout.probe_seconds(name)) for name in store.names(layout.LEASE)]
    old = [name for name, seconds in probes if seconds is not None and seconds < oldest]
    for name in old:
        store.remove(name)
    return len(old) + abort_old_uploads(store.fs, store.root)


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
