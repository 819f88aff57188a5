"""Hashes of files, each read once as long as it is not changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path


class Hashes:
    """What files hash to; a file whose size or time of change is as it was is not read again.

    Args:
        known: what `known` gave before; plain JSON. An entry that can't be one is not believed.
    """

    def __init__(self, known: Mapping[str, Sequence[int | str]] | None = None) -> None:
        self._known = dict[str, tuple[int | str, ...]]()
        self.remember(known or {})

    @property
    def known(self) -> dict[str, list[int | str]]:
        """Path -> [n_bytes, mtime_ns, hex SHA-256] of every file asked for; for the next time."""
        return {path: list(entry) for path, entry in self._known.items()}

    def remember(self, known: Mapping[str, Sequence[int | str]]) -> None:
        """Add what `known` of another one gave."""
        self._known |= {path: tuple(entry) for path, entry in known.items()}

    def of(self, path: Path) -> str:
        """`sha256:<hex>` of a file's bytes.

        Raises:
            OSError: it can't be read.
        """
        place = path.resolve()  # of a hub's cache: the file that a link leads to
        entry = self._known.get(str(place), ())
        if entry[:2] != _stamp(place.stat()) or len(entry) != 3:
            with place.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))  # before: what changes meanwhile is reread
                entry = (*stamp, hashlib.file_digest(file, "sha256").hexdigest())
            self._known[str(place)] = entry
        return f"sha256:{entry[2]}"


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns
