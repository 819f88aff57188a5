"""A sample that is to be packed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from curator_assets.errors import UserError


class PackError(UserError):
    """What lies in a folder can't be packed as it is."""


@dataclass(frozen=True)
class Packable:
    """A sample that is to be packed, not read yet.

    Attributes:
        key: of the sample, as `safe_key` gives it.
        read: its members, as pairs of the extension and the bytes; the image first.
        sizes: the extension and the size in bytes of each member; None if only reading tells.
        changed_ns: when its files were changed last, nanoseconds since 1970.
    """

    key: str
    read: Callable[[], list[tuple[str, bytes]]]
    sizes: tuple[tuple[str, int], ...] | None = None
    changed_ns: int = 0


def safe_key(path: str) -> str:
    """A path without its last extension as a key: a reader ends the key at the name's first dot.

    Dots, percent signs, and bytes that are no UTF-8 (of which Python makes surrogates) are written
    as `%XX`, so that the keys of different paths differ.
    """
    folder, slash, name = path.replace("%", "%25").rpartition("/")
    text = f"{folder}{slash}{name.replace('.', '%2E')}"
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", text)
