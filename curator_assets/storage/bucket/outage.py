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

from curator_assets.storage.bucket.errors import StoreRefusedError
from curator_assets.storage.retries import LASTING, GivenUpError

Result = TypeVar("Result")

PATIENCE_SECONDS = 120.0
"""So long a call is tried again, and so long an outage is waited out by all calls together."""

FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 15.0

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


class Outage:
    """What all calls to one store know of whether it answers; for any number of threads."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._lock = threading.Lock()

    def asked(self, call: Callable[[], Result], what: str) -> Result:
        """The result of a call, which is tried again with growing pauses while the store is away.

        The pauses are drawn at random below a bound that doubles, so that many do not come back
        at once. Once an outage has outlasted `PATIENCE_SECONDS` each call is tried once, until one
        succeeds.

        Args:
            call: raises an OSError if it fails.
            what: it does, for the log.

        Raises:
            GivenUpError: it failed for as long as it was tried.
            OSError: it failed for a reason that waiting does not mend.
        """
        started, n_tries = time.monotonic(), 0
        while True:
            try:
                result = call()
            except StoreRefusedError:
                raise
            except OSError as error:
                if error.errno in _LASTING:
                    self._answered()
                    raise
                n_tries += 1
                waited = time.monotonic() - min(started, self._began(started))
                if waited >= PATIENCE_SECONDS:
                    why = f"{error.strerror}; it was tried for {waited:.0f} s"
                    raise GivenUpError(errno.EIO, why, error.filename) from error
                bound = min(FIRST_WAIT_SECONDS * 2.0**n_tries, MAX_WAIT_SECONDS)
                wait = random.uniform(bound / 2, bound)
                if n_tries == 1:
                    _LOG.warning(
                        "%s: %s; it is tried again for up to %.0f s",
                        what,
                        error,
                        PATIENCE_SECONDS - waited,
                    )
                time.sleep(wait)
                continue
            self._answered()
            if n_tries:
                _LOG.info("%s: done after %d tries", what, n_tries + 1)
            return result

    def _began(self, now: float) -> float:
        with self._lock:
            if self._since is None:
                self._since = now
            return self._since

    def _answered(self) -> None:
        if self._since is not None:
            with self._lock:
                self._since = None
