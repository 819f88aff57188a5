"""Tars that benchmarks write, and JPEG files of the same pixels but of bytes of their own."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

_COMMENT = b"\xff\xfe"
_HEADER = 4  # marker and length
_MOST = 65_533


def write_tar(
    path: Path,
    members: Iterable[tuple[str, bytes]],
    *,
    kind: int = tarfile.DEFAULT_FORMAT,
    mtime: float = 0,
) -> None:
    """Write members in this order.

    Args:
        path: of the tar.
        members: name and bytes of each.
        kind: one of tarfile's formats.
        mtime: of each member.
    """
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            tar.addfile(info, io.BytesIO(data))


def commented(jpeg: bytes, number: int, n_bytes: int = 0) -> bytes:
    """A JPEG file that no other number makes: images of the same bytes are embedded once.

    Args:
        jpeg: the file to add comments to.
        number: is in the first of them.
        n_bytes: of comments in all, to within a few; at least one with the number is added.
    """
    segments, text = list[bytes](), number.to_bytes(8, "big")
    while not segments or n_bytes > 0:
        text = text.ljust(min(max(n_bytes - _HEADER, 8), _MOST), b" ")
        segments.append(_COMMENT + (len(text) + 2).to_bytes(2, "big") + text)
        n_bytes -= len(segments[-1])
        text = b""
    return b"".join([jpeg[:2], *segments, jpeg[2:]])
