"""Whole files on this machine's own filesystem: a file gets its name when all of it is there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import IO, NamedTuple

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a disk on which nothing can be written any more."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_ORPHAN_SECONDS = 24 * 3600
_MAX_STEM_BYTES = 128
_FOLDER = "curator-assets-"


class LocalMark(NamedTuple):
    """Of a file: another one once it is written to or replaced."""

    device: int
    inode: int
    n_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: str | Path | int) -> LocalMark:
        """Of the file at a path, or of an open one by its number.

        Raises:
            FileNotFoundError: there is none.
        """
        return cls.told_by(os.stat(path))  # noqa: PTH116

    @classmethod
    def told_by(cls, found: os.stat_result) -> LocalMark:
        """Of a file that was looked at."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class TakenError(Exception):
    """There is a file of that name."""


def link(source: Path, target: Path) -> bool:
    """Give a file a second name, in a folder that is made; False where there are no hard links.

    Raises:
        FileNotFoundError: there is none.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


@contextmanager
def written(target: Path, put: Callable[[Path, Path], object]) -> Iterator[IO[bytes]]:
    """A file to write that `put` gives its name when the block ends."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(target.parent)
    writer = f"{threading.get_native_id()}.{_writer(os.getpid())}"
    stem = target.name  # with what comes around it, a long one would be too long
    if len(os.fsencode(stem)) > _MAX_STEM_BYTES:
        stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:32]
    unfinished = target.with_name(f".{stem}.{writer}.partial")
    try:
        with unfinished.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        put(unfinished, target)
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(target)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def put_if_absent(source: Path, target: Path) -> None:
    """Give a file another name, only if there is none of that name; it may keep the old one too."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise TakenError from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with target.with_name(".create.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.exists():
                raise TakenError from None
            source.replace(target)


def replace(source: Path, target: Path) -> LocalMark | None:
    """Give a file another name, and tell its mark; None if another has that name already."""
    before = LocalMark.of(source)
    source.replace(target)
    with suppress(FileNotFoundError):  # another process has taken it away at once
        after = LocalMark.of(target)
        return after if after[:-1] == before[:-1] else None
    return None


def files_below(folder: str) -> Iterator[os.DirEntry[str]]:
    """All files below a folder of this machine; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield from files_below(entry.path)
                else:
                    yield entry
    except (FileNotFoundError, NotADirectoryError):
        return


def marks_below(folder: str) -> Iterator[tuple[str, LocalMark | None]]:
    """The paths of all files below a folder, and their marks; None of one that is gone already."""
    for entry in files_below(folder):
        try:
            yield entry.path, LocalMark.told_by(entry.stat())
        except OSError:
            yield entry.path, None


def _writer(pid: int | str) -> str:
    return f"{platform.node()}.{pid}"


@cache
def _remove_orphans(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; looked for once a process.

    Whether a process of another machine or container lives can't be seen: its files are left for a
    day.
    """
    for orphan in folder.glob(".*.partial"):
        with suppress(FileNotFoundError):
            is_old = time.time() - orphan.stat().st_mtime > _ORPHAN_SECONDS
            if is_old or _is_of_the_dead(orphan, ".partial"):
                orphan.unlink()


def _is_of_the_dead(path: Path, suffix: str) -> bool:
    """Whether a name ends in that of a process of this host that lives no more, and a suffix."""
    pid = path.name.removesuffix(suffix).rpartition(".")[2]
    is_mine = path.name.endswith(f".{_writer(pid)}{suffix}") and pid.isdigit()
    return is_mine and not Path(f"/proc/{pid}").exists()


def own_folder() -> TemporaryDirectory[str]:
    """A temporary folder of this process; those of killed processes of this host are removed."""
    for folder in Path(gettempdir()).glob(f"{_FOLDER}*"):
        if _is_of_the_dead(folder, ""):
            shutil.rmtree(folder, ignore_errors=True)
    return TemporaryDirectory(prefix=_FOLDER, suffix=f".{_writer(os.getpid())}")
