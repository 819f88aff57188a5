"""Storage that fails for a moment is asked again."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from curator_assets.errors import UserError
from curator_assets.masking import masked

Result = TypeVar("Result")

N_TRIES = 4
FIRST_WAIT_SECONDS = 1.0  # doubled after each try

LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOENT, errno.EACCES, errno.EPERM}
"""Errors that waiting does not mend."""


class GivenUpError(OSError):
    """Storage failed for so long that it was given up; asking again would take as long."""


def with_retries(action: Callable[[], Result], what: str, log: logging.Logger) -> Result:
    """The result of `action`, tried again with growing pauses if its storage fails for a moment.

    Raises:
        OSError: it failed four times, or for a reason that waiting does not mend (disk full, no
            such file, no permission), or was tried long enough before it was raised.
    """
    attempt = 1
    while True:
        try:
            return action()
        except OSError as error:
            if not pause_before_retry(error, attempt, what, log):
                raise
            attempt += 1


def pause_before_retry(error: OSError, attempt: int, what: str, log: logging.Logger) -> bool:
    """Wait before the next try, and say so; False at once if there is to be none."""
    lasting = error.errno in LASTING or isinstance(error, UserError | GivenUpError)
    if lasting or isinstance(error, FileNotFoundError | PermissionError) or attempt >= N_TRIES:
        return False
    wait = FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
    log.warning(
        "%s: %s; try %d of %d in %.0f s", what, masked(str(error)), attempt + 1, N_TRIES, wait
    )
    time.sleep(wait)
    return True
