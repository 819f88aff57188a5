"""The image files below a folder, each with the files of its name beside it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from curator_assets.packing.packable import Packable, PackError, safe_key
from curator_assets.storage.shards.tars import IMAGE_EXTENSIONS

_N_NAMED = 5


@dataclass
class Found:
    """What lies below a folder.

    Attributes:
        images: samples, in the order of their keys.
        parquet: files, in order.
        strays: paths of files that belong to no image.
    """

    images: list[Packable] = field(default_factory=list)
    parquet: list[Path] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def find(folder: Path, but_not: Path) -> Found:
    """What lies below a folder, hidden files and folders and one other folder left out.

    Raises:
        PackError: two images in one folder have one name; says which.
    """
    found, clashes = Found(), list[str]()
    for path, names in _folders(folder, but_not):
        images, others = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for name in names:
            stem, _, ext = name.rpartition(".")
            if ext.lower() == "parquet" and stem:
                found.parquet.append(path / name)
            else:
                kind = images if ext.lower() in IMAGE_EXTENSIONS and stem else others
                kind[stem or name].append(name)
        clashes += [str(path / name) for same in images.values() if len(same) > 1 for name in same]
        for stem, same in images.items():
            found.images.append(_packable(folder, path, stem, [*same, *others.pop(stem, [])]))
        found.strays += [str(path / name) for same in others.values() for name in same]
    if clashes:
        more = f" and {len(clashes) - _N_NAMED} more" if len(clashes) > _N_NAMED else ""
        raise PackError(
            f"images of one name in one folder would be one sample: {', '.join(clashes[:_N_NAMED])}"
            f"{more}; rename all but one of each name"
        )
    found.images.sort(key=lambda one: one.key)
    return found


def _folders(folder: Path, but_not: Path) -> Iterator[tuple[Path, list[str]]]:
    for place, folders, names in os.walk(folder):
        path = Path(place)
        folders[:] = sorted(
            name for name in folders if not _is_hidden(name) and path / name != but_not
        )
        yield path, sorted(name for name in names if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _packable(root: Path, path: Path, stem: str, names: list[str]) -> Packable:
    files = [path / name for name in names]
    return Packable(
        safe_key((path / stem).relative_to(root).as_posix()),
        partial(_read, files),
        max(file.stat().st_mtime_ns for file in files),
    )


def _read(files: list[Path]) -> list[tuple[str, bytes]]:
    return [(file.name.rpartition(".")[2], file.read_bytes()) for file in files]
