"""The folder or bucket under `output`: whole files in, whole files out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Protocol, cast

from fsspec.implementations.local import LocalFileSystem

from curator_assets.masking import masked_location
from curator_assets.storage import local_files
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.entries import StoredFile
from curator_assets.storage.filesystem import opened
from curator_assets.storage.local_files import LocalMark
from curator_assets.storage.remote_files import RemoteFiles, hashed
from curator_assets.storage.written_files import HashedFile, KnownFiles, Mark


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
        bucket = Bucket(self.fs, self.root, self.require_guard)
        self._remote = RemoteFiles(bucket, self._place, lambda: self.guard)
        self._known = KnownFiles()

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    @cached_property
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

    @contextmanager
    def pictured(self) -> Iterator[None]:
        """Have a bucket listed once and no more until the block ends, in all of this process.

        Under a guard that is exact; whoever only looks sees what was there at one moment.
        Nothing changes on this machine's own filesystem.
        """
        with nullcontext() if self.is_local else self._remote.pictured():
            yield

    @property
    def is_pictured(self) -> bool:
        """Whether what lies here was listed under the guard that holds, and is kept track of."""
        return not self.is_local and self._remote.is_kept_up()

    @property
    def guard(self) -> Guard | None:
        """What is asked before anything is put in place here or above; None: nothing."""
        if not _guards:
            return None
        guards = list(_guards.items())  # other threads set and take away theirs
        above = (g for place, g in guards if f"{self._place}/".startswith(f"{place}/"))
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
        return self._remote.url(name)

    def size(self, name: str) -> int | None:
        """Size in bytes, or None if there is no such file."""
        try:
            if self.is_local:  # fsspec takes several times as long
                return os.stat(f"{self.root}/{name}").st_size  # noqa: PTH116
            return self._remote.size(name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """The names of the files below a folder, in order; none if there is no such folder."""
        if self.is_local:  # fsspec asks for the size and the time of each
            found = (file.path for file in local_files.files_below(self.path(folder)))
            return sorted(map(self._name, found))
        return list(self._remote.marks(folder))

    def marks(self, folder: str, *, afresh: bool = False) -> Mapping[str, Mark | None]:
        """The names of the files below a folder, and of each what changes once it is replaced.

        None stands for what is gone already, or of which nothing can be told; `afresh` is asked
        past a picture.
        """
        if self.is_local:
            marks = local_files.marks_below(self.path(folder))
            return {self._name(path): mark for path, mark in marks}
        return self._remote.marks(folder, afresh=afresh)

    def _name(self, path: str) -> str:
        """The inverse of `path`."""
        return path[len(self.root.rstrip("/")) + 1 :]

    def names_beginning(self, prefix: str) -> list[str]:
        """The names of the files that begin so, but not of those in folders that do, in order."""
        if not self.is_local:
            return self._remote.names_beginning(prefix)
        folder, _, start = self.path(prefix).rpartition("/")
        try:
            with os.scandir(folder) as entries:
                found = [e.name for e in entries if e.name.startswith(start) and e.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            found = []
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
        return self._remote.read(name)

    def read_each(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The name and the content of each of many small files, in order; a gone one is left out.

        A bucket is asked for a thousand at once.
        """
        if self.is_local:
            for name in names:
                with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                    yield name, self.read(name)
            return
        yield from self._remote.read_each(names)

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of the file called `name`, each from a byte up to another one; at its end less.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.is_local:
            with open(self.path(name), "rb") as file:  # noqa: PTH123
                return [os.pread(file.fileno(), stop - start, start) for start, stop in ranges]
        return self._remote.read_ranges(name, ranges)

    def open(self, name: str) -> IO[bytes]:
        """The file called `name`, open for reading.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.is_local:
            return open(self.path(name), "rb")  # noqa: PTH123
        return self._remote.open(name)

    def remove(self, name: str) -> None:
        """Remove the file called `name`, if it is there."""
        if not self.is_local:
            self._remote.remove(name)
        elif self.size(name) is not None:
            self.require_guard()
            with suppress(FileNotFoundError):  # another process was first
                os.remove(self.path(name))  # noqa: PTH107

    def move(self, name: str, target: str) -> None:
        """Give the file called `name`, if it is there, another name; what had that name goes."""
        if not self.is_local:
            self._remote.move(name, target)
        elif self.size(name) is not None:
            self.remove(target)
            self.require_guard()
            Path(self.path(target)).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.path(name), self.path(target))

    def copy(self, name: str, target: str) -> None:
        """Have the content of the file called `name` under another name too; what had that goes.

        Where the filesystem knows hard links, the bytes are there once.

        Raises:
            FileNotFoundError: there is none.
        """
        if not self.is_local:
            self._remote.copy(name, target)
            return
        self.remove(target)
        self.require_guard()
        if not local_files.link(Path(self.path(name)), Path(self.path(target))):
            with self.open(name) as source, self.write(target) as file:
                shutil.copyfileobj(source, file)

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write that appears under `name` whole when the block ends, or not at all."""
        with self._write_local(name) if self.is_local else self._remote.write(name) as file:
            yield cast("IO[bytes]", file)

    @contextmanager
    def _write_local(self, name: str) -> Iterator[HashedFile]:
        mark: Hashable | None = None

        def put(source: Path, target: Path) -> None:
            nonlocal mark
            self.require_guard()
            mark = local_files.replace(source, target)

        with local_files.written(Path(self.path(name)), put) as file, HashedFile(file) as hashed:
            yield hashed
        self._known.remember(name, mark, hashed.stored())

    def placed(self, files: Mapping[str, StoredFile]) -> None:
        """Take note of files that another process has put in place under this one's guard."""
        if not self.is_local:
            for name, stored in files.items():
                self._remote.placed(name, stored)

    def look_again(self, names: Iterable[str]) -> None:
        """Have files asked for that another process may have put in place under this one's guard.

        Without a picture they are anyway.
        """
        if not self.is_local:
            for name in names:
                self._remote.forget(name)

    def known(self, name: str) -> StoredFile | None:
        """What the file called `name` holds, if this process wrote it or read all of it.

        None if it was touched since, or not written from its begin to its end.
        """
        if not self.is_local:
            return self._remote.known(name)
        return self._known.of(name, partial(self._mark, name))

    def hash(self, name: str) -> StoredFile:
        """What the file called `name` holds, read from begin to end.

        Raises:
            FileNotFoundError: there is none.
        """
        if not self.is_local:
            return self._remote.hash(name)
        with self.open(name) as file:
            mark = LocalMark.of(file.fileno())
            stored = hashed(file)
        self._known.remember(name, mark, stored)
        return stored

    def _mark(self, name: str) -> Hashable | None:
        """Of a file, changes when it is written to or replaced; None: it is gone, or can't tell."""
        try:
            return LocalMark.of(self.path(name))
        except OSError:
            return None

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
            return self._remote.create(name, data)

        def put_if_absent(source: Path, target: Path) -> None:
            self.require_guard()
            local_files.put_if_absent(source, target)

        try:
            with local_files.written(Path(self.path(name)), put_if_absent) as file:
                file.write(data)
        except local_files.TakenError:
            return False
        return True
