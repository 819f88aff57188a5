"""What lies below a folder, and what of it can't be seen; nothing is taken for empty that is not.

`fs.find` of fsspec leaves out folders that can't be listed. So the folders are walked here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.bucket.errors import StoreRefusedError
from curator_assets.storage.shards.shard_names import why_hidden

ALL_OF_IT = "./"
_N_LISTED_AT_ONCE = 16
_ODD = "neither a file nor a folder"
_IN_OUTPUT = "it leads into the output, which is no source"


@dataclass(frozen=True)
class Signature:
    """What a listing tells of a tar; equal signatures mean equal bytes."""

    size: int
    modified: str


@dataclass
class Tree:
    """What lies below a folder; all paths are below it.

    Attributes:
        files: those of wanted names.
        passed_over: wanted names that are hidden or no files, and folders that are not followed ->
            why.
        broken: links that lead to nothing -> why.
        unseen: folders that can't be listed, with a slash at the end (`./`: all of it), and files
            that can't be looked at -> why.
    """

    files: dict[str, Signature] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    unseen: dict[str, str] = field(default_factory=dict)


class _Folder(NamedTuple):
    """A folder to list: its path, below the root, and on the disk; why it is passed over."""

    path: str
    below: str
    real: str = ""
    why_hidden: str | None = None

    @property
    def label(self) -> str:
        return f"{self.below}/" if self.below else ALL_OF_IT

    def holds(self, name: str) -> str:
        return f"{self.below}/{name}" if self.below else name

    def why_below_is_hidden(self, name: str) -> str | None:
        """Why what lies in its folder of this name is passed over."""
        why = why_hidden(name)
        return self.why_hidden or (f"in the folder {name}, passed over: {why}" if why else None)


def walk(root: str, wanted: Callable[[str], bool], output: str | None = None) -> Tree:
    """Everything of a wanted name below a folder of this machine.

    Links to folders are followed once, after all that lies there itself.

    Args:
        root: the folder.
        wanted: of a name.
        output: a folder that is left out.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return _LocalWalk(wanted, output).below(root)


def stat_signature(status: os.stat_result) -> Signature:
    """The signature of a local file."""
    return Signature(status.st_size, str(status.st_mtime))


def info_signature(info: Mapping[str, Any]) -> Signature:
    """The signature of a file as fsspec tells of it."""
    modified = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified")
    return Signature(size=int(info["size"] or 0), modified=str(modified))


def why_unseen(error: Exception) -> str:
    """An error of storage in a few words."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"it can't be seen: {words}"


class _LocalWalk:
    def __init__(self, wanted: Callable[[str], bool], output: str | None) -> None:
        self._wanted = wanted
        self._output = os.path.realpath(output) if output else None
        self._tree = Tree()
        self._first = dict[str, str]()  # where a folder was seen first, by its real path
        self._left, self._links = list[_Folder](), list[_Folder]()

    def below(self, root: str) -> Tree:
        try:
            if not stat.S_ISDIR(os.stat(root).st_mode):  # noqa: PTH116
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), root)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(*error.args) from error
        except OSError as error:
            self._tree.unseen[ALL_OF_IT] = why_unseen(error)
            return self._tree
        real = os.path.realpath(root)
        self._left.append(_Folder(root, "", real))
        while self._left or self._links:
            if not self._left:
                self._links.sort()
                links, self._links = self._links, []
                self._left = [link for link in links if self._may_follow(link, real)][::-1]
                continue
            folder = self._left.pop()
            if self._is_new(folder):
                self._list(folder)
        return self._tree

    def _may_follow(self, link: _Folder, root: str) -> bool:
        if _lies_in(root, link.real):
            self._tree.passed_over[link.label] = "a link to a folder that holds the source"
            return False
        if self._output and _lies_in(link.real, self._output):
            self._tree.passed_over[link.label] = _IN_OUTPUT
            return False
        return True

    def _is_new(self, folder: _Folder) -> bool:
        if folder.why_hidden:  # a link from elsewhere may still lead there
            return True
        if folder.real == self._output:
            self._tree.passed_over[folder.label] = _IN_OUTPUT
            return False
        first = self._first.setdefault(folder.real, folder.below)
        if first is not folder.below:
            where = f"{first}/" if first else "the source"
            self._tree.passed_over[folder.label] = f"another name of {where}, seen there"
            return False
        return True

    def _list(self, folder: _Folder) -> None:
        try:
            with os.scandir(folder.path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if not folder.why_hidden:
                self._tree.unseen[folder.label] = why_unseen(error)
            return
        for entry in reversed(entries):
            self._sort(entry, folder)

    def _sort(self, entry: os.DirEntry[str], folder: _Folder) -> None:
        below, wanted = folder.holds(entry.name), self._wanted(entry.name)
        is_link, why = entry.is_symlink(), folder.why_hidden
        if not is_link and entry.is_dir(follow_symlinks=False):
            why = folder.why_below_is_hidden(entry.name)
            if wanted and not why:
                self._tree.passed_over[f"{below}/"] = "a folder, whatever its name says"
            real = os.path.join(folder.real, entry.name)  # noqa: PTH118
            self._left.append(_Folder(entry.path, below, real, why))
            return
        is_followed = is_link and not folder.why_below_is_hidden(entry.name)
        if not wanted and not is_followed:
            return
        try:
            status = os.stat(entry.path)  # noqa: PTH116
        except OSError as error:
            self._note_error(error, below, why, is_link)
            return
        if stat.S_ISDIR(status.st_mode):
            if is_followed:
                self._links.append(_Folder(entry.path, below, os.path.realpath(entry.path)))
        elif wanted and why:
            self._tree.passed_over[below] = why
        elif wanted and stat.S_ISREG(status.st_mode):
            self._tree.files[below] = stat_signature(status)
        elif wanted:
            self._tree.passed_over[below] = _ODD

    def _note_error(self, error: OSError, below: str, why: str | None, is_link: bool) -> None:
        if why:
            self._tree.passed_over[below] = why
        elif is_link and error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}:
            self._tree.broken[below] = "a link that leads to nothing"
        elif error.errno != errno.ENOENT:  # or it went since the folder was listed
            self._tree.unseen[below] = why_unseen(error)


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def walk_bucket(bucket: Bucket, wanted: Callable[[str], bool], output: str | None = None) -> Tree:
    """Everything of a wanted name in a bucket, listed at once if that can be.

    Where it can't, each folder of a level is listed beside the others.

    Args:
        bucket: all of it is looked at.
        wanted: of a name.
        output: a path of the same filesystem that is left out.

    Raises:
        FileNotFoundError: nothing lies there.
    """
    if bucket.lists_flat:
        try:
            return _sort_flat(bucket, wanted, output)
        except (StoreRefusedError, FileNotFoundError):
            raise
        except OSError:  # what of it can't be listed, its folders tell
            pass
    return _walk_folders(bucket, wanted, output)


def _sort_flat(bucket: Bucket, wanted: Callable[[str], bool], output: str | None) -> Tree:
    tree, found = Tree(), bucket.find("")
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), bucket.path(""))
    folders = {"": _Folder(bucket.path(""), "")}
    for below, info in found.items():
        path, _, name = below.rpartition("/")
        folder = _folder_at(path, folders)
        if wanted(name) and not (output and _lies_in(folder.path, output.rstrip("/"))):
            _take(info, name, folder, tree)
    return tree


def _folder_at(path: str, folders: dict[str, _Folder]) -> _Folder:
    """The folder of a path below the root; those that were met are kept."""
    if path not in folders:
        above, _, name = path.rpartition("/")
        parent = _folder_at(above, folders)
        why = parent.why_below_is_hidden(name)
        folders[path] = _Folder(f"{parent.path}/{name}", path, why_hidden=why)
    return folders[path]


def _take(info: Mapping[str, Any], name: str, folder: _Folder, tree: Tree) -> None:
    """Take note of a file of a wanted name."""
    if folder.why_hidden:
        tree.passed_over[folder.holds(name)] = folder.why_hidden
    else:
        tree.files[folder.holds(name)] = info_signature(info)


def _walk_folders(bucket: Bucket, wanted: Callable[[str], bool], output: str | None) -> Tree:
    tree, level = Tree(), [_Folder(bucket.path(""), "")]

    def listed(folder: _Folder) -> list[Mapping[str, Any]] | OSError:
        try:
            return bucket.in_folder(folder.below)
        except StoreRefusedError:
            raise
        except OSError as error:
            return error

    with ThreadPoolExecutor(_N_LISTED_AT_ONCE) as pool:
        while level:
            found, here, level = pool.map(listed, level), level, []
            for folder, entries in zip(here, found, strict=True):
                if isinstance(entries, FileNotFoundError | NotADirectoryError) and not folder.below:
                    raise FileNotFoundError(*entries.args) from entries
                if isinstance(entries, OSError):
                    if not folder.why_hidden:
                        tree.unseen[folder.label] = why_unseen(entries)
                    continue
                level += _sort_bucket(entries, folder, tree, wanted, output)
    return tree


def _sort_bucket(
    entries: Sequence[Mapping[str, Any]],
    folder: _Folder,
    tree: Tree,
    wanted: Callable[[str], bool],
    output: str | None,
) -> Iterator[_Folder]:
    for info in entries:
        path = str(info["name"]).rstrip("/")
        if path == folder.path.rstrip("/"):
            if not folder.below and info["type"] == "file" and info.get("size"):
                raise FileNotFoundError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            continue  # the mark of a folder
        name = path.rpartition("/")[2]
        below = folder.holds(name)
        if info["type"] == "directory":
            if output is None or path != output.rstrip("/"):
                yield _Folder(path, below, why_hidden=folder.why_below_is_hidden(name))
        elif wanted(name):
            _take(info, name, folder, tree)
