"""Python's search for garbage in cycles, put off while much is read that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected_later() -> Iterator[None]:
    """Look for no garbage until the block ends; also a decorator.

    What is kept of a ledger is many small objects. To look through them again and again as they
    come takes a third of the time that they are read in. Not for what makes many cycles: they
    stay until the end.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
