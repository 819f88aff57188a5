"""The image files below a folder, each with the files of its name beside it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from curator_assets.errors import named
from curator_assets.packing.packable import Packable, PackError, safe_key
from curator_assets.storage.shards.tars import IMAGE_EXTENSIONS


@dataclass
class Found:
    """What lies below a folder.

    Attributes:
        images: samples, in the order of their keys.
        parquet: files, in order.
        strays: what belongs to no image: other files, hidden ones, links to folders, no files.
    """

    images: list[Packable] = field(default_factory=list)
    parquet: list[Path] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def find(folder: Path, but_not: Path) -> Found:
    """What lies below a folder, but for one folder.

    Raises:
        PackError: two images in one folder have one name, or a folder can't be read; says which.
    """
    found, clashes = Found(), list[str]()
    for path, names in _folders(folder, but_not, found.strays):
        images, others = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for name in names:
            stem, _, ext = name.rpartition(".")
            if not stem or not (path / name).is_file():
                found.strays.append(str(path / name))
            elif ext.lower() == "parquet":
                found.parquet.append(path / name)
            else:
                (images if ext.lower() in IMAGE_EXTENSIONS else others)[stem].append(name)
        for stem, same in images.items():
            beside = others.pop(stem, [])
            if len(same) > 1 or len({name.lower() for name in beside}) < len(beside):
                clashes += [str(path / name) for name in (*same, *beside)]
            found.images.append(_packable(folder, path, stem, [*same, *beside]))
        found.strays += [str(path / name) for same in others.values() for name in same]
    if clashes:
        raise PackError(
            f"files of one name in one folder would be one member of a sample: {named(clashes)}; "
            "rename all but one of each"
        )
    found.images.sort(key=lambda one: one.key)
    return found


def _folders(folder: Path, but_not: Path, strays: list[str]) -> Iterator[tuple[Path, list[str]]]:
    for place, folders, names in os.walk(folder, onerror=_refuse):
        path = Path(place)
        strays += [str(path / name) for name in (*folders, *names) if _is_hidden(name)]
        seen = sorted(name for name in folders if not _is_hidden(name) and path / name != but_not)
        links = [name for name in seen if (path / name).is_symlink()]
        strays += [str(path / name) for name in links]
        folders[:] = [name for name in seen if name not in links]
        yield path, sorted(name for name in names if not _is_hidden(name))


def _refuse(error: OSError) -> None:
    raise PackError(
        f"{error.filename} can't be read ({error.strerror}), so its images would be left out; give "
        "yourself the right to read it, or move it out of the folder"
    )


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _packable(root: Path, path: Path, stem: str, names: list[str]) -> Packable:
    files = [path / name for name in names]
    stats = [file.stat() for file in files]
    return Packable(
        safe_key((path / stem).relative_to(root).as_posix()),
        partial(_read, files),
        tuple((_ext(file), stat.st_size) for file, stat in zip(files, stats, strict=True)),
        max(stat.st_mtime_ns for stat in stats),
    )


def _ext(file: Path) -> str:
    return file.name.rpartition(".")[2]


def _read(files: list[Path]) -> list[tuple[str, bytes]]:
    return [(_ext(file), file.read_bytes()) for file in files]
