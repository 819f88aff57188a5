"""The `.env` of a project: Dagster's own commands read it in the folder in which they run."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

ENV = ".env"

_ANY = re.compile(b"")


def set_variable(
    path: Path,
    name: str,
    value: str,
    *,
    replaces: re.Pattern[bytes] = _ANY,
    is_secret: bool = False,
) -> bool:
    """Have a file name the value of a variable; whether it was written.

    A link, and a file with lines of this variable that do not all match, stay as they are.

    Args:
        path: the file, made if missing.
        name: of the variable.
        value: any text.
        replaces: what a line of this variable has to be for another to take its place.
        is_secret: nobody else may read the file from then on.
    """
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    line = f"{name}='{quoted}'\n".encode()
    if path.is_symlink():
        return False
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    names_it = re.compile(rb"\s*(export\s+)?" + name.encode() + rb"\s*=")
    named = [other for other in lines if names_it.match(other)]
    if not all(replaces.match(other) for other in named):
        return False
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    mode = 0o600 if is_secret else mode
    if named == [line]:
        if mode is not None:
            path.chmod(mode)
        return False
    others = [other for other in lines if other not in named]
    others += [b"\n"] if others and not others[-1].endswith(b"\n") else []
    _put(path, b"".join([*others, line]), mode)
    return True


def _put(path: Path, content: bytes, mode: int | None) -> None:
    """Replace a file, whole or not at all; nobody else reads it before it has its mode."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        partial.touch(mode=0o666 if mode is None else 0o600)
        partial.write_bytes(content)
        if mode is not None:
            partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
