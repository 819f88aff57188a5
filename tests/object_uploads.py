"""Many files into SeaweedFS at once, past its S3 gateway."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

_UPLOADERS = 8


def upload_files(port: int, target: str, folder: Path) -> None:
    """Upload all files below a folder.

    Args:
        port: of the filer, on 127.0.0.1.
        target: the filer's own path of what becomes the folder; a bucket is `/buckets/NAME`.
        folder: where they are.

    Raises:
        RuntimeError: the server refused one.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    parts = [files[i::_UPLOADERS] for i in range(_UPLOADERS)]
    threads = [_Uploads(port, target, folder, part) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused := [line for thread in threads for line in thread.refused]:
        raise RuntimeError(f"{len(refused)} uploads were refused, the first: {refused[0]}")


class _Uploads(threading.Thread):
    """Uploads files over one connection to the filer, which gives them the same ETag as S3 does."""

    def __init__(self, port: int, target: str, folder: Path, files: Sequence[Path]) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._target, self._folder, self._files = target, folder, files
        self.refused = list[str]()

    def run(self) -> None:
        """Upload them."""
        kind = {"Content-Type": "application/octet-stream"}
        for path in self._files:
            name = quote(f"{self._target}/{path.relative_to(self._folder)}")
            self._connection.request("PUT", name, path.read_bytes(), kind)
            answer = self._connection.getresponse()
            said = answer.read()
            if answer.status >= 300:
                self.refused.append(f"{name}: {answer.status} {said[:200]!r}")
        self._connection.close()
