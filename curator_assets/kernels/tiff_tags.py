"""What the first directory of a TIFF says, in both byte orders, also of a BigTIFF."""

from __future__ import annotations

import struct

_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""TIFF's kinds of whole numbers."""

_MAX_VALUES = 1 << 20
"""Of a tag: the places of a million strips. More would be a file that says so to be costly."""


def tiff_tags(data: bytes, *wanted: int) -> dict[int, tuple[int, ...]]:
    """The whole numbers of the tags that are wanted and there.

    Args:
        data: a TIFF file.
        wanted: numbers of tags; those whose values are no whole numbers are left out.

    Raises:
        struct.error: the directory, or a value of it, lies beyond the end of the file.
    """
    order = "<" if data[:2] == b"II" else ">"
    is_big = _read(data, order + "H", 2)[0] == 43
    pointer, counter = (order + "Q", order + "Q") if is_big else (order + "I", order + "H")
    n_inline = struct.calcsize(pointer)
    (directory,) = _read(data, pointer, 8 if is_big else 4)
    (n_entries,) = _read(data, counter, directory)
    first = directory + struct.calcsize(counter)
    entry_bytes = 4 + 2 * n_inline
    found = dict[int, tuple[int, ...]]()
    for entry in range(first, first + entry_bytes * n_entries, entry_bytes):
        tag, kind = _read(data, order + "HH", entry)
        if tag not in wanted or tag in found or kind not in _CODES:
            continue
        (count,) = _read(data, pointer, entry + 4)
        at = entry + 4 + n_inline
        if count * struct.calcsize(order + _CODES[kind]) > n_inline:
            (at,) = _read(data, pointer, at)
        if count > min(len(data), _MAX_VALUES):
            raise struct.error(f"tag {tag}: {count} values in {len(data)} bytes")
        found[tag] = _read(data, f"{order}{count}{_CODES[kind]}", at)
    return found


def _read(data: bytes, code: str, at: int) -> tuple[int, ...]:
    if at > len(data):  # struct counts no further than the machine does
        raise struct.error(f"byte {at} of {len(data)}")
    return struct.unpack_from(code, data, at)
