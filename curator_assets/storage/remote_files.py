"""Files in a bucket, asked of a picture of it where there is one, and else of the bucket."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO

from curator_assets.storage import layout
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.entries import StoredFile
from curator_assets.storage.picture import Picture, Pictured, own_mark
from curator_assets.storage.written_files import HashedFile, KnownFiles, Mark, bucket_mark

_ALWAYS_ASKED = frozenset({layout.LEASE, layout.ARRIVALS})
"""Folders of an output that other processes write to at any time."""

_WORTH_A_MARK = 1 << 20
"""Bytes; a bucket gives a smaller file about as fast as it says what it knows of one."""

_pictures = dict[str, Picture]()
os.register_at_fork(after_in_child=_pictures.clear)

Guarded = Callable[[], object | None]


class RemoteFiles:
    """What a `Store` does with files that are not on this machine.

    Args:
        bucket: where they lie.
        place: the same for all of one place.
        guard: says what is held while files are put in place; while one is, nobody else does.
    """

    def __init__(self, bucket: Bucket, place: str, guard: Guarded) -> None:
        self._bucket, self._place, self._guard = bucket, place, guard
        self._known = KnownFiles()
        self._own = dict[str, tuple[object, Pictured]]()

    @contextmanager
    def pictured(self) -> Iterator[None]:
        """Have what lies here told by a picture in all of this process until the block ends.

        One that is taken under the same guard is shared; any other may be of another time.
        """
        found, guard = _pictures.get(self._place), self._guard()
        if found is not None and guard is not None and found.guard is guard:
            yield
            return
        mine = _pictures[self._place] = Picture(self._bucket, guard, _ALWAYS_ASKED)
        try:
            yield
        finally:
            if _pictures.get(self._place) is mine:
                del _pictures[self._place]

    def is_kept_up(self) -> bool:
        """Whether there is a picture, and nobody else may write meanwhile."""
        picture, guard = self._picture(layout.LEDGER)[0], self._guard()
        return picture is not None and guard is not None and picture.guard is guard

    def _picture(self, name: str) -> tuple[Picture | None, str]:
        """The picture that covers a name, and what is put before names there."""
        for place, picture in list(_pictures.items()):  # other threads take and end theirs
            if f"{self._place}/".startswith(f"{place}/"):
                above = f"{self._place}/"[len(place) + 1 :]
                return (picture if picture.covers(above + name) else None), above
        return None, ""

    def _file(self, name: str) -> Pictured | None:
        """What is known of a file; None if there is none."""
        picture, above = self._picture(name)
        if picture is not None:
            return picture.file(above + name)
        if own := self._written_here(name):
            return own
        try:
            info = self._bucket.info(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Pictured(int(info["size"]), bucket_mark(info))

    def _written_here(self, name: str) -> Pictured | None:
        """What this process wrote under the guard that still holds, if it wrote the file."""
        guard, file = self._own.get(name, (None, None))
        return file if guard is not None and guard is self._guard() else None

    def _told(self, name: str) -> Pictured | None:
        """The same as `_file` where that costs no request.

        Raises:
            FileNotFoundError: there is no such file.
        """
        picture, above = self._picture(name)
        if picture is None:
            return self._written_here(name)
        if (file := picture.file(above + name)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._bucket.url(name))
        return file

    def url(self, name: str) -> str:
        """Where a person finds a file; masked."""
        return self._bucket.url(name)

    def size(self, name: str) -> int | None:
        """Size in bytes, or None if there is no such file."""
        file = self._file(name)
        return file and file.n_bytes

    def marks(self, folder: str, *, afresh: bool = False) -> Mapping[str, Mark | None]:
        """The names of the files below a folder, in order, and what changes once they do."""
        picture, above = self._picture(folder)
        if picture is None or afresh:
            return {name: bucket_mark(info) for name, info in self._bucket.find(folder).items()}
        found = picture.beginning(f"{above}{folder}/" if folder else above)
        return {name[len(above) :]: file.mark for name, file in found.items()}

    def names_beginning(self, prefix: str) -> list[str]:
        """The names of the files that begin so, but not of those in folders that do, in order."""
        picture, above = self._picture(prefix)
        if picture is None:
            return self._bucket.find_beginning(prefix)
        found = picture.beginning(above + prefix)
        return [name[len(above) :] for name in found if "/" not in name[len(above + prefix) :]]

    def read(self, name: str) -> bytes:
        """The content of a file."""
        self._told(name)
        return self._bucket.read(name)

    def read_each(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The name and the content of many small files, in order; a gone one is left out."""
        yield from self._bucket.read_each(list(names))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of a file."""
        return self._bucket.read_ranges(name, ranges)

    def open(self, name: str) -> IO[bytes]:
        """A file, open for reading here and there."""
        file = self._told(name)
        return self._bucket.open(name, file.n_bytes if file else None)

    def hash(self, name: str) -> StoredFile:
        """What a file holds, read from begin to end."""
        if (file := self._file(name)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._bucket.url(name))
        with self._bucket.open_ahead(name, file.n_bytes) as opened:
            stored = hashed(opened)
        self._remember(name, file.mark, stored)
        return stored

    def known(self, name: str) -> StoredFile | None:
        """What a file holds, if this process wrote it or read all of it, and it is the same."""
        return self._known.of(name, partial(self._mark, name))

    def _mark(self, name: str) -> Mark | None:
        try:
            file = self._file(name)
        except OSError:
            return None
        return file and file.mark

    def _remember(self, name: str, mark: Mark | None, stored: StoredFile) -> None:
        """Remember what a file holds, where to look whether it is the same costs less."""
        is_free = self._picture(name)[0] is not None or self._written_here(name) is not None
        is_worth_it = is_free or stored.n_bytes >= _WORTH_A_MARK
        self._known.remember(name, mark if is_worth_it else None, stored)

    @contextmanager
    def write(self, name: str) -> Iterator[HashedFile]:
        """A file to write that appears when the block ends."""
        with self._changing(name), self._bucket.write(name) as file:
            yield file
        if stored := file.stored():
            self._put(name, stored)
        else:
            self.forget(name)

    def placed(self, name: str, stored: StoredFile) -> None:
        """Take note of what a process that works for this one has put in place."""
        if self._picture(name)[0] is not None and self.known(name) != stored:
            self._put(name, stored)

    def _put(self, name: str, stored: StoredFile) -> None:
        picture, above = self._picture(name)
        guard = self._guard()
        mark: Mark | None = None
        if picture is not None:
            mark = picture.put(above + name, stored.n_bytes)
        elif guard is not None and not _is_always_asked(name):
            mark = own_mark(stored.n_bytes)
            self._own[name] = guard, Pictured(stored.n_bytes, mark)
        elif stored.n_bytes >= _WORTH_A_MARK:
            mark = self._mark(name)
        self._remember(name, mark, stored)

    @contextmanager
    def _changing(self, *names: str) -> Iterator[None]:
        """What can't be known of files, should what is done about them fail, is asked for."""
        try:
            yield
        except BaseException:
            for name in names:
                self.forget(name)
            raise

    def forget(self, name: str) -> None:
        """Have a file asked for: what becomes of it was not seen."""
        picture, above = self._picture(name)
        self._own.pop(name, None)
        if picture is not None:
            picture.forget(above + name)

    def _gone(self, name: str) -> None:
        picture, above = self._picture(name)
        self._own.pop(name, None)
        if picture is not None:
            picture.drop(above + name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self._file(name) is None:
            return
        with self._changing(name):
            self._bucket.remove(name)
        self._gone(name)

    def move(self, name: str, target: str) -> None:
        """Give a file, if it is there, another name; what had that name goes."""
        if self._file(name) is not None:
            self.copy(name, target)
            self.remove(name)

    def copy(self, name: str, target: str) -> None:
        """Have the content of a file under another name too; what had that goes."""
        file = self._told(name)
        with self._changing(target):
            self._bucket.copy(name, target)
        picture, above = self._picture(target)
        self._own.pop(target, None)
        if picture is not None and file is not None:
            picture.put(above + target, file.n_bytes)
        else:
            self.forget(target)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if there is none of that name."""
        with self._changing(name):
            is_new = self._bucket.create(name, data)
        self.forget(name)
        return is_new


def _is_always_asked(name: str) -> bool:
    return name.partition("/")[0] in _ALWAYS_ASKED


def hashed(file: IO[bytes]) -> StoredFile:
    """What an open file holds."""
    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    return StoredFile(file.seek(0, os.SEEK_END), digest.hexdigest())
