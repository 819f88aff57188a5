"""The folder or bucket under `output`: whole files in, whole files out."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, cached_property, partial
from pathlib import Path
from typing import IO, Protocol

from fsspec.implementations.local import LocalFileSystem

from curator_assets.masking import masked, masked_location
from curator_assets.storage.filesystem import opened
from curator_assets.storage.retries import with_retries

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a disk on which nothing can be written any more."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_ORPHAN_SECONDS = 24 * 3600
_MAX_STEM_BYTES = 128
_READ_AT_ONCE = 1000
_LOG = logging.getLogger(__name__)


class Guard(Protocol):
    """Says whether this process may still put anything in place.

    Attributes:
        token: what was written under a guard with a higher one is newer.
        run: on whose behalf it writes.
    """

    token: int
    run: str

    def require(self) -> None:
        """Return if it may; raise if not."""


_guards: dict[str, Guard] = {}


class Store:
    """Files below one root, on any filesystem that fsspec knows.

    Of all stores of one place in this process nothing is put in place unless the `guarded` one's
    guard agrees.

    Args:
        location: a folder or an fsspec URI such as `s3://bucket/curated`; the attribute of this
            name, to be shown, is masked.

    Raises:
        UnknownLocationError: no filesystem is known for the URI.
    """

    def __init__(self, location: str) -> None:
        self.location = masked_location(location)
        self.fs, self.root = opened(location)

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's own filesystem."""
        return isinstance(self.fs, LocalFileSystem)

    @contextmanager
    def guarded(self, guard: Guard) -> Iterator[None]:
        """Ask a guard before anything is put in place, moved or removed, until the block ends."""
        _guards[self._place] = guard
        try:
            yield
        finally:
            if _guards.get(self._place) is guard:
                del _guards[self._place]

    @property
    def guard(self) -> Guard | None:
        """What is asked before anything is put in place here or above; None: nothing."""
        if not _guards:
            return None
        above = (g for place, g in _guards.items() if f"{self._place}/".startswith(f"{place}/"))
        return next(above, None)

    def require_guard(self) -> None:
        """Return if this process may put something in place; raise what the guard raises if not."""
        if guard := self.guard:
            guard.require()

    @cached_property
    def _place(self) -> str:
        """The same for all stores of one place."""
        if self.is_local:
            return os.path.realpath(self.root)
        return str(self.fs.unstrip_protocol(self.root))

    def path(self, name: str) -> str:
        """The filesystem's own path of the file called `name` below the root."""
        return f"{self.root}/{name}"

    def url(self, name: str) -> str:
        """Where a person finds the file called `name`; masked."""
        if self.is_local:
            return self.path(name)
        return masked(masked_location(self.fs.unstrip_protocol(self.path(name))))

    def size(self, name: str) -> int | None:
        """Size in bytes, or None if there is no such file."""
        try:
            return int(self.fs.size(self.path(name)))
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """The names of the files below a folder, in order; none if there is no such folder."""
        if self.is_local:  # fsspec asks for the size and the time of each
            found = _files_below(self.path(folder))
        else:
            self.fs.invalidate_cache(self.path(folder))
            found = self.fs.find(self.path(folder))
        return sorted(path[len(self.root.rstrip("/")) + 1 :] for path in found)

    def names_beginning(self, prefix: str) -> list[str]:
        """The names of the files that begin so, but not of those in folders that do, in order."""
        folder, _, start = self.path(prefix).rpartition("/")
        if self.is_local:
            try:
                with os.scandir(folder) as entries:
                    found = [e.name for e in entries if e.name.startswith(start) and e.is_file()]
            except (FileNotFoundError, NotADirectoryError):
                found = []
        else:
            self.fs.invalidate_cache(folder)
            paths = self.fs.find(folder, prefix=start)  # some look at the prefix, some don't
            names = [path[len(folder) + 1 :] for path in paths]
            found = [name for name in names if name.startswith(start) and "/" not in name]
        above = prefix[: len(prefix) - len(start)]
        return sorted(f"{above}{name}" for name in found)

    def read(self, name: str) -> bytes:
        """The content of the file called `name`.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.is_local:  # fsspec takes longer to open a small file than it takes to read it
            with open(self.path(name), "rb") as file:  # noqa: PTH123
                return file.read()
        read = partial(self.fs.cat_file, self.path(name))
        return with_retries(read, f"reading {self.url(name)}", _LOG)  # type: ignore[no-any-return]

    def read_each(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The name and the content of each of many small files, in order; a gone one is left out.

        A bucket is asked for a thousand at once.
        """
        if self.is_local:
            for name in names:
                with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                    yield name, self.read(name)
            return
        wanted = list(names)
        for start in range(0, len(wanted), _READ_AT_ONCE):
            block = wanted[start : start + _READ_AT_ONCE]
            read = partial(self._read_block, block)
            found = with_retries(read, f"reading {len(block)} files of {self.location}", _LOG)
            yield from found

    def _read_block(self, names: list[str]) -> list[tuple[str, bytes]]:
        """What `read_each` gives; `fs.cat` would take `[` and `*` in names for patterns."""
        paths = [self.path(name) for name in names]
        contents = self.fs.cat_ranges(paths, None, None, on_error="return")
        found = list[tuple[str, bytes]]()
        for name, content in zip(names, contents, strict=True):
            if isinstance(content, FileNotFoundError):
                continue
            if isinstance(content, BaseException):
                raise content
            found.append((name, content))
        return found

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of the file called `name`, each from a byte up to another one; at its end less.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.is_local:
            with open(self.path(name), "rb") as file:  # noqa: PTH123
                return [os.pread(file.fileno(), stop - start, start) for start, stop in ranges]
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        read = partial(self.fs.cat_ranges, [self.path(name)] * len(ranges), starts, stops)
        return with_retries(read, f"reading {self.url(name)}", _LOG)

    def open(self, name: str) -> IO[bytes]:
        """The file called `name`, open for reading.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.fs.open(self.path(name), "rb")  # type: ignore[no-any-return]

    def remove(self, name: str) -> None:
        """Remove the file called `name`, if it is there."""
        if self.size(name) is not None:
            self.require_guard()
            with suppress(FileNotFoundError):  # another process was first
                self.fs.rm_file(self.path(name))

    def move(self, name: str, target: str) -> None:
        """Give the file called `name`, if it is there, another name; what had that name goes."""
        if self.size(name) is not None:
            self.fs.makedirs(self.fs._parent(self.path(target)), exist_ok=True)
            self.remove(target)
            self.require_guard()
            if self.is_local:
                self.fs.mv(self.path(name), self.path(target))
            else:  # `mv` would take `[` and `*` in names for patterns
                self.fs.cp_file(self.path(name), self.path(target))
                self.fs.rm_file(self.path(name))

    def copy(self, name: str, target: str) -> None:
        """Have the content of the file called `name` under another name too; what had that goes.

        Where the filesystem knows hard links, the bytes are there once.

        Raises:
            FileNotFoundError: there is none.
        """
        self.remove(target)
        self.fs.makedirs(self.fs._parent(self.path(target)), exist_ok=True)
        self.require_guard()
        if self.is_local:
            try:
                os.link(self.path(name), self.path(target))
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            else:
                return
        self.fs.cp_file(self.path(name), self.path(target))

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
            self.require_guard()
            put = partial(self.fs.put_file, file.name, self.path(name))
            with_retries(put, f"writing {self.url(name)}", _LOG)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file, whole or not at all, only if there is none called `name`.

        Of several writers that try at once, in any process, one succeeds. On a local filesystem
        that is a hard link's doing, or where there are none that of a lock; in a bucket it is the
        server's (`mode="create"` of fsspec: s3fs, gcsfs and adlfs send the condition along;
        fsspec's filesystem in memory looks first, which holds within a thread).

        Returns:
            Whether this call wrote it. A bucket's answer may be lost and the call be tried again:
            False then, though it was this call; the content tells.
        """
        if not self.is_local:
            create = partial(self._create_in_bucket, name, data)
            return with_retries(create, f"writing {self.url(name)}", _LOG)
        try:
            with self._write_local(Path(self.path(name)), _put_if_absent) as file:
                file.write(data)
        except _TakenError:
            return False
        return True

    def _create_in_bucket(self, name: str, data: bytes) -> bool:
        self.require_guard()
        try:
            self.fs.pipe_file(self.path(name), data, mode="create")
        except OSError:  # of s3fs it is not a FileExistsError
            self.fs.invalidate_cache(self.fs._parent(self.path(name)))
            if self.size(name) is None:
                raise
            return False
        return True

    @contextmanager
    def _write_local(
        self, target: Path, put: Callable[[Path, Path], object] = os.replace
    ) -> Iterator[IO[bytes]]:
        """A file to write that `put` gives its name when the block ends."""
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(target.parent)
        writer = f"{threading.get_native_id()}.{_writer(os.getpid())}"
        stem = target.name  # with what comes around it, a long one would be too long
        if len(os.fsencode(stem)) > _MAX_STEM_BYTES:
            stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:32]
        partial = target.with_name(f".{stem}.{writer}.partial")
        try:
            with partial.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self.require_guard()
            put(partial, target)
        except OSError as error:
            if error.errno in FULL and error.filename is None:
                error.filename = str(target)
            raise
        finally:
            partial.unlink(missing_ok=True)


class _TakenError(Exception):
    """There is a file of that name."""


def _put_if_absent(source: Path, target: Path) -> None:
    """Give a file another name, only if there is none of that name; it may keep the old one too."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise _TakenError from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with target.with_name(".create.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.exists():
                raise _TakenError from None
            source.replace(target)


def _files_below(folder: str) -> Iterator[str]:
    """The paths of all files below a folder of this machine; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield from _files_below(entry.path)
                else:
                    yield entry.path
    except (FileNotFoundError, NotADirectoryError):
        return


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
