"""What lies below a bucket's root, listed once and kept up to date by what this process changes.

A picture is of one moment. Under the lease nobody else puts anything in place, so it stays true;
whoever only looks gets the answers of that moment. A folder of the root is listed when something
of it is asked for, at one request a thousand objects, and not again.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple, TypeVar

from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.written_files import Mark, bucket_mark

Result = TypeVar("Result")

_ROOT = ""
"""The folder of what lies in no folder of the root."""

_OWN = "written here"
_n_written = count()


class Pictured(NamedTuple):
    """What is known of a file.

    Attributes:
        n_bytes: its size.
        mark: another one once it is replaced; None if nothing can be told.
    """

    n_bytes: int
    mark: Mark | None


def own_mark(n_bytes: int) -> Mark:
    """The mark of a file that this process has just written; no other has it."""
    return n_bytes, _OWN, next(_n_written)


def is_own(mark: Mark | None) -> bool:
    """Whether a mark is of a file that this process wrote, and not one that a store told."""
    return mark is not None and _OWN in mark


class _Folder:
    """The files of a folder of the root, wherever below it; None: to be asked for."""

    def __init__(self, files: Mapping[str, Pictured | None]) -> None:
        self.files, self.names = dict(files), sorted(files)

    def beginning(self, prefix: str) -> list[str]:
        start = stop = bisect_left(self.names, prefix)
        while stop < len(self.names) and self.names[stop].startswith(prefix):
            stop += 1
        return self.names[start:stop]

    def put(self, name: str, file: Pictured | None) -> None:
        if name not in self.files:
            insort(self.names, name)
        self.files[name] = file

    def drop(self, name: str) -> None:
        if name in self.files:
            del self.files[name]
            del self.names[bisect_left(self.names, name)]


class Picture:
    """What lies in a bucket; for any number of threads, no two of which change one file.

    Args:
        bucket: that it is of.
        guard: under which it is taken; None: nothing is held, and others may write.
        without: folders of the root that others write to at any time, which it leaves out.

    What asks raises what the bucket does.
    """

    def __init__(self, bucket: Bucket, guard: object | None, without: frozenset[str]) -> None:
        self.guard = guard
        self._bucket, self._without = bucket, without
        self._folders = dict[str, _Folder]()
        self._there: frozenset[str] | None = None
        self._lock = threading.RLock()

    def covers(self, name: str) -> bool:
        """Whether it knows of what is called so, or below a folder that is."""
        return bool(name) and name.partition("/")[0] not in self._without

    def file(self, name: str) -> Pictured | None:
        """What is known of a file; None if there is none."""
        with self._lock:
            folder = self._folder(name)
            found = folder.files.get(name)
            if found is None and name in folder.files:
                found = self._asked(name)
                if found is None:
                    folder.drop(name)
                else:
                    folder.put(name, found)
            return found

    def beginning(self, prefix: str) -> dict[str, Pictured]:
        """Name -> what is known of it, of the files whose names begin so, in order."""
        with self._lock:
            found = {name: self.file(name) for name in self._folder(prefix).beginning(prefix)}
        return {name: file for name, file in found.items() if file is not None}

    def put(self, name: str, n_bytes: int) -> Mark:
        """Take note of a file that was put in place by this process, or for it; its mark."""
        mark = own_mark(n_bytes)
        self._note(name, lambda folder: folder.put(name, Pictured(n_bytes, mark)))
        return mark

    def drop(self, name: str) -> None:
        """Take note of a file that was removed."""
        self._note(name, lambda folder: folder.drop(name))

    def forget(self, name: str) -> None:
        """Have a file asked for: something was done about it that may have failed."""
        self._note(name, lambda folder: folder.put(name, None))

    def _note(self, name: str, change: Callable[[_Folder], None]) -> None:
        """What is noted of a folder that was not listed yet, its listing will tell."""
        with self._lock:
            top = _top(name)
            if top not in self._folders and self._there is not None and top not in self._there:
                self._folders[top] = _Folder({})
            if top in self._folders:
                change(self._folders[top])

    def _folder(self, name: str) -> _Folder:
        top = _top(name)
        if self._there is None:
            self._list_root()
        if top not in self._folders:
            is_there = self._there is not None and top in self._there
            self._folders[top] = _Folder(dict(_told(self._bucket.find(top))) if is_there else {})
        return self._folders[top]

    def _list_root(self) -> None:
        try:
            entries = self._bucket.in_folder("")
        except (FileNotFoundError, NotADirectoryError):
            entries = []
        by_name = {self._bucket.name(str(info["name"])).rstrip("/"): info for info in entries}
        folders = {n for n, info in by_name.items() if n and info["type"] == "directory"}
        files = {n: info for n, info in by_name.items() if n and info["type"] != "directory"}
        self._folders[_ROOT] = _Folder(dict(_told(files)))
        self._there = frozenset(folders)

    def _asked(self, name: str) -> Pictured | None:
        try:
            info = self._bucket.info(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Pictured(int(info["size"]), bucket_mark(info))


def _top(name: str) -> str:
    first, slash, _ = name.partition("/")
    return first if slash else _ROOT


def _told(found: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Pictured]]:
    for name, info in found.items():
        yield name, Pictured(int(info["size"]), bucket_mark(info))
