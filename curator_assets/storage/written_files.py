"""Files that are hashed while they are written, so that nobody has to read them again for that."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import IO, Any

from curator_assets.storage.entries import StoredFile

Mark = tuple[int | str | None, ...]
"""Of a file: another one once it is written to or replaced."""

_N_KNOWN = 1 << 14
_VERSIONS = ("ETag", "etag", "generation")
_TIMES = ("LastModified", "last_modified", "mtime", "created")


class HashedFile(io.BufferedIOBase):
    """A file to write and to read back, which knows the hash of what was written one by one.

    It has no `fileno`: nothing is written past it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._n_bytes, self._is_moved = file, 0, False
        self._digest: hashlib._Hash | None = hashlib.sha256()

    def stored(self) -> StoredFile | None:
        """What it holds; None if it was not written from its begin to its end."""
        if self._digest is None:
            return None
        return StoredFile(self._n_bytes, self._digest.hexdigest())

    def write(self, data: Any, /) -> int:
        """Write, wherever it stands."""
        if self._is_moved and self._file.tell() != self._n_bytes:
            self._digest = None
        self._is_moved = False
        n_written = self._file.write(data)
        self._n_bytes += n_written
        if self._digest is not None:
            self._digest.update(data)
        return n_written

    def truncate(self, size: int | None = None, /) -> int:
        """Cut it; its hash is not known any more."""
        self._digest = None
        return self._file.truncate(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Stand somewhere else."""
        self._is_moved = True
        return self._file.seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read from where it stands."""
        self._is_moved = True
        return self._file.read(-1 if size is None else size)

    def tell(self) -> int:
        """Where it stands."""
        return self._file.tell()

    def flush(self) -> None:
        """Hand what was written to the system."""
        if not self._file.closed:
            self._file.flush()

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True


class KnownFiles:
    """What files held that this process wrote or read last, as long as nobody touched them."""

    def __init__(self) -> None:
        self._known = dict[str, tuple[Hashable, StoredFile]]()
        self._lock = threading.Lock()

    def remember(self, name: str, mark: Hashable | None, stored: StoredFile | None) -> None:
        """Remember what a file with this mark holds, or that nothing is known of it."""
        with self._lock:
            self._known.pop(name, None)
            if mark is not None and stored is not None:
                self._known[name] = mark, stored
                if len(self._known) > _N_KNOWN:
                    del self._known[next(iter(self._known))]

    def of(self, name: str, mark: Callable[[], Hashable | None]) -> StoredFile | None:
        """What the file holds; None unless it still has the mark that it had."""
        with self._lock:
            known_mark, stored = self._known.get(name, (None, None))
        return stored if stored is not None and mark() == known_mark else None


def bucket_mark(info: Mapping[str, Any]) -> Mark | None:
    """Of a file as fsspec tells of it: another one once it is replaced; None where it can't be.

    What names the content or the writing of it is enough. Times are not told alike by a listing
    and by a look at the one file.
    """
    for keys in (_VERSIONS, _TIMES):
        if found := [part for key in keys if info.get(key) for part in (key, str(info[key]))]:
            return info.get("size"), *found
    return None
