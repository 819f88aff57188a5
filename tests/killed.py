"""What a kill -9 leaves, without a process to be killed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from unittest.mock import patch

from curator_assets.storage.store import Store


class KilledError(BaseException):
    """Nothing is put in place any more, whoever tries."""


@contextmanager
def killed_after(n: int | None) -> Iterator[None]:
    """Kill whatever puts something in a store in the block, once that was done n times."""
    require, left = Store.require_guard, count() if n is None else iter(range(n))

    def require_life(store: Store) -> None:
        # the thread that tells of a holder's life would end with its process
        if threading.current_thread().name != "lease" and next(left, None) is None:
            raise KilledError
        require(store)

    with patch.object(Store, "require_guard", require_life):
        yield
