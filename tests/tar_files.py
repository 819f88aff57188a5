"""Small tars for tests."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def write_members(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """A tar of these members, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def read_members(path: Path) -> dict[str, bytes]:
    """Name -> bytes of every member."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}
