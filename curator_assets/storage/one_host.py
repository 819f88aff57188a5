"""An output in a store that lets two create one object: only one host may refresh it.

S3, Google Cloud Storage and Azure create an object "only if there is none" when they are asked to,
and so decide between two hosts that want the lease. Older servers that speak S3 ignore the
condition, or answer that it is not implemented. There the processes of one host are kept apart by
that host, and the lease's file, which stays when it is let go of, tells which host that is.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from curator_assets.errors import UserError
from curator_assets.storage import layout
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.holder import Holder
from curator_assets.storage.room import new_probe
from curator_assets.storage.store import Store

SETTLE_SECONDS = 5.0
"""Two hosts that take a first lease at once write within less of each other; the last counts."""


class OtherHostError(UserError):
    """Another host has refreshed the output, and the store can't decide between two."""


def lets_two_create(store: Store) -> bool:
    """Whether a store creates an object though there is one; tried, in three requests."""
    if store.is_local:
        return False
    bucket = Bucket(store.fs, store.root)
    return not bucket.creates_only_if_absent(new_probe())


class OneHost:
    """This host as the only one that refreshes an output.

    Args:
        store: the output; it `lets_two_create`.
        log: told that it does.
    """

    def __init__(self, store: Store, log: logging.Logger) -> None:
        self._store, self._host = store, platform.node()
        log.warning(
            "%s: its store can't create an object only if there is none (conditional put), so it "
            "may be refreshed by one host alone, %s; others are refused",
            store.location,
            self._host,
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process of this host is in such a block."""
        folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def require_here(self, holder: Holder | None) -> None:
        """Return if the last holder was of this host.

        Args:
            holder: None if its file can't be read.

        Raises:
            OtherHostError: it was of another one, or of one that can't be told.
        """
        if holder and holder.host == self._host:
            return
        last = f"{holder.host!r} (run {holder.run})" if holder else "one that can't be told"
        raise OtherHostError(
            f"output {self._store.location}: its store can't create an object only if there is "
            "none (conditional put), so one host alone may refresh it: the last was "
            f"{last}, this is {self._host!r}. Refresh it there; or, once no refresh runs, hand it "
            f"over by deleting {self._store.url(layout.LEASE)}/; or move it to a store with "
            "conditional put (`curate check` tells)"
        )

    def stays(self, name: str, data: bytes) -> bool:
        """Whether a file that was just written is still the same after a moment."""
        time.sleep(SETTLE_SECONDS)
        with suppress(FileNotFoundError):
            return self._store.read(name) == data
        return False
