"""Objects below one root of a store: what `Store` and `Source` ask of fsspec, and nothing else is.

A name is never a pattern: `mv`, `cp`, `rm` and `cat` of fsspec expand `*`, `?` and `[`, and are not
called. Nothing is answered from a listing cache. Each call names the file that it is about when it
fails, and is tried again while the store is away.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any, TypeVar, cast

from curator_assets.masking import masked, masked_location
from curator_assets.storage.bucket.errors import (
    StoreRefusedError,
    as_os_error,
    is_beyond_end,
    is_taken,
    named_errors,
)
from curator_assets.storage.bucket.outage import Outage
from curator_assets.storage.bucket.ranged_file import RangedFile, ReadAheadFile
from curator_assets.storage.bucket.spans import Range, merged, parts_of
from curator_assets.storage.bucket.upload import (
    UPLOAD_PART_BYTES,
    Upload,
    UploadedFile,
    scratch_file,
)

Result = TypeVar("Result")
_OBJECT_STORES = {"s3", "gs", "az"}
"""Protocols of stores of names without folders, in which an upload appears once it is completed."""
_AT_ONCE = 1000
_TAIL_BYTES = 64 << 10
_outages = defaultdict[tuple[Any, bool], Outage](Outage)
"""By filesystem, and whether it is about writing: a full store still gives what it holds."""


class Bucket:
    """Objects by their names below a root.

    Args:
        fs: an fsspec filesystem, without a listing cache.
        root: a path on it.
        require: called before each try of a change; raises if it may not be made.

    Attributes:
        lists_flat: all below a folder is listed at one request a thousand objects.

    Every method raises what `named_errors` and `Outage.asked` do.
    """

    def __init__(self, fs: Any, root: str, require: Callable[[], None] = lambda: None) -> None:
        self._fs, self._root, self._require = fs, root.rstrip("/"), require
        self._reading, self._writing = _outages[fs, False], _outages[fs, True]
        spoken = {fs.protocol} if isinstance(fs.protocol, str) else {*fs.protocol}
        self._hides_parts = self.lists_flat = bool(spoken & _OBJECT_STORES)

    def path(self, name: str) -> str:
        """The filesystem's own path of an object."""
        return f"{self._root}/{name}" if name else self._root

    def url(self, name: str) -> str:
        """Where a person finds an object; masked."""
        return masked(masked_location(self._fs.unstrip_protocol(self.path(name))))

    def name(self, path: str) -> str:
        """The inverse of `path`."""
        return path[len(self._root) + 1 :]

    def _asked(
        self, call: Callable[[], Result], what: str, name: str, *, writes: bool = False
    ) -> Result:
        url = self.url(name)

        def named() -> Result:
            if writes:  # a store that was away may have let another take over
                self._require()
            with named_errors(url):
                return call()

        outage = self._writing if writes else self._reading
        return outage.asked(named, f"{what} {url}")

    def info(self, name: str) -> Mapping[str, Any]:
        """What the store tells of an object.

        Raises:
            FileNotFoundError: there is none.
        """

        def info() -> Mapping[str, Any]:
            try:
                found: Mapping[str, Any] = self._fs.info(self.path(name))
            except PermissionError:
                self._fs.cat_file(self.path(name), start=0, end=1)  # HEAD's answer says not why
                raise
            if found["type"] == "directory":
                raise FileNotFoundError(errno.ENOENT, "it is a folder", self.path(name))
            return found

        return self._asked(info, "looking at", name)

    def find(self, folder: str) -> dict[str, Mapping[str, Any]]:
        """Name -> what the store tells of it, of the objects below a folder, in order."""
        find = partial(self._fs.find, self.path(folder), detail=True)
        found = self._asked(find, "listing", folder)
        named = ((self.name(path), found[path]) for path in sorted(found))
        return {name: info for name, info in named if name}  # the root may have a mark of its own

    def find_beginning(self, prefix: str) -> list[str]:
        """The names of the objects of a folder that begin so, in order."""
        folder, _, start = prefix.rpartition("/")
        find = partial(self._fs.find, self.path(folder), prefix=start)  # some look at it only
        names = map(self.name, self._asked(find, "listing", prefix))
        return sorted(n for n in names if n.startswith(prefix) and "/" not in n[len(prefix) :])

    def in_folder(self, folder: str) -> list[Mapping[str, Any]]:
        """What the store tells of the objects and folders that lie in a folder itself."""
        ls = partial(self._fs.ls, self.path(folder), detail=True)
        return list(self._asked(ls, "listing", folder))

    def read(self, name: str) -> bytes:
        """The content of an object."""
        return self.read_ranges(name, [(0, None)])[0]

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The name and the content of many small objects, in order; a gone one is left out."""
        for start in range(0, len(names), _AT_ONCE):
            block = names[start : start + _AT_ONCE]
            everything = [(0, None)] * len(block)
            for name, found in zip(block, self._read_parts(block, everything), strict=True):
                if isinstance(found, OSError) and not isinstance(found, FileNotFoundError):
                    with suppress(FileNotFoundError):  # it is gone by now
                        found = self.read(name)
                if isinstance(found, bytes):
                    yield name, found

    def read_part_of_each(
        self, ranges: Mapping[str, tuple[int, int]]
    ) -> dict[str, bytes | OSError]:
        """Name -> the bytes of that range, or why they can't be read."""
        found = dict[str, bytes | OSError]()
        names = list(ranges)
        for at in range(0, len(names), _AT_ONCE):
            block = names[at : at + _AT_ONCE]
            parts = self._read_parts(block, [ranges[name] for name in block])
            for name, part in zip(block, parts, strict=True):
                if isinstance(part, OSError):
                    try:
                        part = self.read_ranges(name, [ranges[name]])[0]
                    except StoreRefusedError:  # it would be said of each of them
                        raise
                    except OSError as error:
                        part = error
                found[name] = part
        return found

    def read_ranges(self, name: str, ranges: Sequence[Range]) -> list[bytes]:
        """Parts of an object, each from a byte up to another one; at its end less.

        Near ones are read together, and all at once.
        """
        spans = merged(ranges)

        def read() -> list[bytes]:
            found = self._read_parts([name] * len(spans), spans)
            for part in found:
                if isinstance(part, OSError):
                    raise part
            return cast("list[bytes]", found)

        found = self._reading.asked(read, f"reading {self.url(name)}")
        return parts_of(ranges, spans, found)

    def _read_parts(self, names: Sequence[str], ranges: Sequence[Range]) -> list[bytes | OSError]:
        """One try for each of many parts, all at once; from its end on an object holds nothing.

        Each is one request: without a range s3fs would ask for the size first.
        """
        if not names:
            return []
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        paths = [self.path(name) for name in names]
        found = self._fs.cat_ranges(paths, starts, stops, on_error="return")
        return [self._as_part(name, part) for name, part in zip(names, found, strict=True)]

    def _as_part(self, name: str, part: bytes | BaseException) -> bytes | OSError:
        if not isinstance(part, BaseException):
            return bytes(part)
        return b"" if is_beyond_end(part) else as_os_error(part, self.url(name))

    def open(self, name: str, n_bytes: int | None = None) -> IO[bytes]:
        """An object to read here and there: only what is asked for is fetched."""
        size = self.info(name)["size"] if n_bytes is None else n_bytes
        return RangedFile(partial(self._range, name), size, _TAIL_BYTES)  # type: ignore[return-value]

    def open_ahead(self, name: str, n_bytes: int | None = None) -> IO[bytes]:
        """An object to read from begin to end: large parts are fetched before they are needed."""
        size = self.info(name)["size"] if n_bytes is None else n_bytes
        return ReadAheadFile(partial(self._range, name), size)  # type: ignore[return-value]

    def _range(self, name: str, start: int, stop: int) -> bytes:
        (data,) = self.read_ranges(name, [(start, stop)])
        if len(data) != stop - start:
            raise OSError(errno.EIO, f"{stop - start} bytes were there at {start}", self.url(name))
        return data

    @contextmanager
    def write(self, name: str) -> Iterator[UploadedFile]:
        """A file to write, which appears when the block ends."""
        path = self.path(name)
        open_remote = partial(self._fs.open, path, "wb", block_size=UPLOAD_PART_BYTES)
        with scratch_file() as (file, local):
            upload = Upload(file, open_remote if self._hides_parts else None)
            try:
                with UploadedFile(file, upload) as written:
                    yield written
                file.flush()
                if not self._is_finished(name, file, upload, written):
                    upload.close()
                    put = partial(self._fs.put_file, local, path)
                    self._asked(put, "writing", name, writes=True)
            finally:
                upload.close()

    def _is_finished(
        self, name: str, file: IO[bytes], upload: Upload, written: UploadedFile
    ) -> bool:
        """Complete the upload; False where that can't be, and all of it is to be sent again."""
        if written.stored() is None:  # what was sent is not what the file holds now
            return False
        with suppress(OSError), named_errors(self.url(name)):
            return upload.finish(file.seek(0, os.SEEK_END), self._require)
        return False

    def create(self, name: str, data: bytes) -> bool:
        """Write an object only if there is none of that name; the server decides between two.

        s3fs, gcsfs and adlfs send the condition along; fsspec's memory looks first, and so it is
        done for a server that answers that it knows no conditions.

        Returns:
            Whether this call wrote it; False also where an answer was lost and it was.
        """
        try:
            return self._create_conditionally(name, data)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
        with suppress(FileNotFoundError):
            self.info(name)
            return False
        put = partial(self._fs.pipe_file, self.path(name), data)
        self._asked(put, "writing", name, writes=True)
        return True

    def creates_only_if_absent(self, name: str) -> bool:
        """Whether the server refuses a second object of one name, as asked: it is tried.

        Args:
            name: of an object that is made and removed.
        """
        try:
            self._create_conditionally(name, b"first")
            return not self._create_conditionally(name, b"second")
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            return False
        finally:
            self.remove(name)

    def _create_conditionally(self, name: str, data: bytes) -> bool:
        def create() -> bool:
            try:
                self._fs.pipe_file(self.path(name), data, mode="create")
            except Exception as error:  # each library raises its own
                if is_taken(error):
                    return False
                raise
            return True

        return self._asked(create, "writing", name, writes=True)

    def copy(self, name: str, target: str) -> None:
        """Have an object under another name too, in place of what had that."""
        copy = partial(self._fs.cp_file, self.path(name), self.path(target))
        self._asked(copy, "copying", name, writes=True)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with suppress(FileNotFoundError):
            self._asked(partial(self._fs.rm_file, self.path(name)), "removing", name, writes=True)
