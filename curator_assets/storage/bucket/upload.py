"""A file that is uploaded in parts while it is written, and appears once all of it is there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any

from curator_assets.storage.local_files import FULL
from curator_assets.storage.written_files import HashedFile

UPLOAD_PART_BYTES = 16 << 20
"""S3 takes 10,000 parts of an object: 156 GiB."""


class Upload:
    """Sends what is appended to a local file on to a store, in a thread; nothing is visible yet.

    Args:
        file: the local one, whose parts are read again to be sent.
        open_remote: begins the upload; called once, for a file of more than a part. None: nothing
            is sent before all of it is written.
    """

    def __init__(self, file: IO[bytes], open_remote: Callable[[], Any] | None) -> None:
        self._file, self._open_remote = file, open_remote
        self._thread = ThreadPoolExecutor(1, "upload")
        self._remote: Any = None
        self._n_sent, self._is_broken = 0, open_remote is None
        self._sent = list[Future[None]]()

    def appended(self, n_bytes: int) -> None:
        """Send the whole parts of the first so many bytes of the local file that were not sent.

        What fails is not told before the end, when all of it can be sent again.
        """
        while n_bytes - self._n_sent >= UPLOAD_PART_BYTES and not self._is_broken:
            self._send(UPLOAD_PART_BYTES)
            while len(self._sent) > 1:  # a slow store slows the writer down: no more is held
                self._is_broken |= self._sent.pop(0).exception() is not None

    def finish(self, n_bytes: int, before: Callable[[], None]) -> bool:
        """Send the rest, and have the object appear.

        Args:
            n_bytes: of the local file.
            before: called last of all before it appears; may raise.

        Returns:
            False if nothing was sent yet, for it is less than a part, or not all of it could be.
        """
        if not self._n_sent or self._is_broken:
            return False
        self._send(n_bytes - self._n_sent)
        for sent in self._sent:
            sent.result()
        before()
        self._remote.close()
        self._remote = None
        return True

    def _send(self, n_bytes: int) -> None:
        start, self._n_sent = self._n_sent, self._n_sent + n_bytes
        self._file.flush()
        self._sent.append(self._thread.submit(self._write, start, n_bytes))

    def _write(self, start: int, n_bytes: int) -> None:
        if self._remote is None and self._open_remote is not None:
            self._remote = self._open_remote()
        self._remote.write(os.pread(self._file.fileno(), n_bytes, start))

    def close(self) -> None:
        """Give up what did not appear."""
        self._thread.shutdown(cancel_futures=True)
        if self._remote is not None:
            self._remote.closed = True  # or it would be completed once nobody holds it
            with suppress(Exception):  # what is left of it is cleaned up after a day
                self._remote.discard()
            self._remote = None


class UploadedFile(HashedFile):
    """A file to write and to read back, whose appended parts are uploaded meanwhile."""

    def __init__(self, file: IO[bytes], upload: Upload) -> None:
        super().__init__(file)
        self._upload = upload

    def write(self, data: Any, /) -> int:
        """Write, wherever it stands; once that was not at its end, the upload waits for its end."""
        n_written = super().write(data)
        if self._digest is not None:
            self._upload.appended(self._n_bytes)
        return n_written


@contextmanager
def scratch_file() -> Iterator[tuple[IO[bytes], str]]:
    """A local file and a path to it; it has no name, and is gone when the block or process ends.

    Raises:
        OSError: its disk is full; says where it lies.
    """
    with tempfile.TemporaryFile() as file:
        try:
            yield file, f"/proc/self/fd/{file.fileno()}"
        except OSError as error:
            if error.errno in FULL and error.filename is None:
                error.filename = tempfile.gettempdir()
            raise
