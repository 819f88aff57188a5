"""A store that is away for a while is asked again until it is back, or the patience is over."""

from __future__ import annotations

import errno
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from curator_assets.errors import UserError
from curator_assets.storage.bucket import interruption
from curator_assets.storage.bucket.errors import StoreRefusedError
from curator_assets.storage.retries import LASTING, GivenUpError

Result = TypeVar("Result")

PATIENCE_SECONDS = 120.0
"""So long a call is tried again, and so long an outage is waited out by all calls together."""

FIRST_WAIT_SECONDS = 0.5  # doubled after each try
MAX_WAIT_SECONDS = 8.0

_LASTING = LASTING | {errno.EINVAL, errno.EEXIST, errno.EMSGSIZE, errno.ENAMETOOLONG, errno.ENOTSUP}
_LOG = logging.getLogger(__name__)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """A store that is away is asked again for so long only, until the block ends."""
    global PATIENCE_SECONDS
    before, PATIENCE_SECONDS = PATIENCE_SECONDS, seconds
    try:
        yield
    finally:
        PATIENCE_SECONDS = before


class StoreAwayError(UserError):
    """No call to a store succeeded for so long that it was given up.

    It is no OSError, for it is not about one file: whoever goes on without a file does not go on.
    """


class Outage:
    """What all calls to one store know of whether it answers; for any number of threads."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._lock = threading.Lock()

    def asked(self, call: Callable[[], Result], what: str) -> Result:
        """The result of a call, which is tried again with growing pauses while the store is away.

        Each pause is drawn at random between a half and all of a bound that doubles, so that many
        do not come back at once. Once an outage has outlasted `PATIENCE_SECONDS` each call is tried
        once, until one succeeds; and so it is once this process was asked to end.

        Args:
            call: raises an OSError if it fails.
            what: it does, for the log.

        Raises:
            StoreAwayError: no call at all succeeded for as long as it was tried, or until this
                process was asked to end.
            GivenUpError: this one failed for as long as it was tried, and others did not.
            OSError: it failed for a reason that waiting does not mend.
        """
        started, n_failed, bound = time.monotonic(), 0, FIRST_WAIT_SECONDS
        while True:
            tried = time.monotonic()
            try:
                result = call()
            except StoreRefusedError:
                raise
            except OSError as error:
                if error.errno in _LASTING:
                    self._answered()
                    raise
                n_failed += 1
                began, is_news = self._failing_since(tried)
                now = time.monotonic()
                left = PATIENCE_SECONDS - (now - min(started, began))
                if left <= 0 or interruption.is_interrupted():
                    raise _given_up(what, error, now - began) from error
                if is_news and n_failed == 1:
                    _LOG.warning("%s: %s; it is tried again for %.0f s", what, error, left)
                interruption.pause(min(random.uniform(bound / 2, bound), left))
                bound = min(2 * bound, MAX_WAIT_SECONDS)
                continue
            self._answered()
            if n_failed:
                _LOG.info("%s: done after %d tries", what, n_failed + 1)
            return result

    def _failing_since(self, tried: float) -> tuple[float, bool]:
        """When the outage began that a try at this time has met; and whether it is the first to."""
        with self._lock:
            is_news = self._since is None
            if self._since is None:
                self._since = tried
            return self._since, is_news

    def _answered(self) -> None:
        if self._since is not None:
            with self._lock:
                self._since = None


def _given_up(what: str, error: OSError, outage_seconds: float) -> Exception:
    why = error.strerror or str(error)
    if interruption.is_interrupted():
        return StoreAwayError(f"{what}: {why}; not waited for, since this process is to end")
    if outage_seconds < PATIENCE_SECONDS / 2:  # others succeeded meanwhile
        why = f"{why}; it was tried for {PATIENCE_SECONDS:.0f} s"
        return GivenUpError(errno.EIO, why, error.filename)
    return StoreAwayError(
        f"{what}: {why}; nothing has succeeded there for {outage_seconds:.0f} s, so the store "
        "seems to be away: run it again once it is back; what was finished counts"
    )
