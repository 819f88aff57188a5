"""The folder or bucket under `output`: whole files in, whole files out."""

from __future__ import annotations

import errno
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from curator_assets.storage.retries import with_retries

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ORPHAN_SECONDS = 24 * 3600


class Store:
    """Files below one root, on any filesystem that fsspec knows.

    Args:
        location: a folder or an fsspec URI such as `s3://bucket/curated`.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self.fs, self.root = fsspec.core.url_to_fs(location)

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's own filesystem."""
        return isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The filesystem's own path of the file called `name` below the root."""
        return f"{self.root}/{name}"

    def url(self, name: str) -> str:
        """Where a person finds the file called `name`."""
        return self.path(name) if self.is_local else self.fs.unstrip_protocol(self.path(name))

    def size(self, name: str) -> int | None:
        """Size in bytes, or None if there is no such file."""
        try:
            return int(self.fs.size(self.path(name)))
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """The names of the files below a folder, in order; none if there is no such folder."""
        found = self.fs.find(self.path(folder))
        return sorted(path[len(self.root.rstrip("/")) + 1 :] for path in found)

    def open(self, name: str) -> IO[bytes]:
        """The file called `name`, open for reading.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.fs.open(self.path(name), "rb")  # type: ignore[no-any-return]

    def remove(self, name: str) -> None:
        """Remove the file called `name`, if it is there."""
        if self.size(name) is not None:
            self.fs.rm_file(self.path(name))

    def move(self, name: str, target: str) -> None:
        """Give the file called `name`, if it is there, another name; what had that name goes."""
        if self.size(name) is not None:
            self.fs.makedirs(self.fs._parent(self.path(target)), exist_ok=True)
            self.remove(target)
            self.fs.mv(self.path(name), self.path(target))

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write that appears under `name` whole when the block ends, or not at all."""
        if self.is_local:
            with self._write_local(Path(self.path(name))) as file:
                yield file
            return
        with tempfile.NamedTemporaryFile() as file:
            yield file
            file.flush()
            put = partial(self.fs.put_file, file.name, self.path(name))
            with_retries(put, f"writing {self.url(name)}", logging.getLogger(__name__))

    @contextmanager
    def _write_local(self, target: Path) -> Iterator[IO[bytes]]:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(target.parent)
        partial = target.with_name(f".{target.name}.{_writer(os.getpid())}.partial")
        try:
            with partial.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError as error:
            if error.errno in _FULL and error.filename is None:
                error.filename = str(target)
            raise
        finally:
            partial.unlink(missing_ok=True)


def _writer(pid: int | str) -> str:
    return f"{platform.node()}.{pid}"


@cache
def _remove_orphans(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; looked for once a process.

    Whether a process of another machine or container lives can't be seen: its files are left for a
    day.
    """
    for orphan in folder.glob(".*.partial"):
        pid = orphan.name.split(".")[-2]
        is_mine = orphan.name.endswith(f".{_writer(pid)}.partial") and pid.isdigit()
        with suppress(FileNotFoundError):
            is_old = time.time() - orphan.stat().st_mtime > _ORPHAN_SECONDS
            if is_old or (is_mine and not Path(f"/proc/{pid}").exists()):
                orphan.unlink()
