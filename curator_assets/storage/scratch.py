"""Files for what does not fit into memory: they have no name, and are gone when they are closed.

So nothing is left behind, whatever ends the process. On a file system that knows no files without a
name (NFS) they have one for a moment, and a kill in that moment leaves an empty file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, cast

from curator_assets.storage.room import OutputError
from curator_assets.storage.store import Store


class Scratch:
    """Opens files on the disk of the output; for a bucket, or where one may only read, in TMPDIR.

    Args:
        store: the output.
    """

    def __init__(self, store: Store) -> None:
        here = store.is_local and os.access(store.root, os.W_OK)
        self._folder = Path(store.root if here else tempfile.gettempdir())

    def open(self) -> IO[bytes]:
        """An empty file, to be written and read."""
        return cast("IO[bytes]", tempfile.TemporaryFile(dir=self._folder))

    def require(self, n_bytes: int) -> None:
        """Return if there is room.

        Raises:
            OutputError: says how much is lacking, and where.
        """
        free = shutil.disk_usage(self._folder).free
        if free < n_bytes:
            raise OutputError(
                f"{self._folder}: about {n_bytes / 1e9:.1f} GB are needed for temporary files, "
                f"but {free / 1e9:.1f} GB are free; make room there, or, if that is no folder of "
                "the output, set TMPDIR to another one"
            )
