"""Ctrl-C, and a request to terminate, end all waiting for stores, whichever thread waits.

Python tells the main thread alone of a signal. That one then joins those that wait for a store, and
would wait as long as they do.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_has_come = threading.Event()


def is_interrupted() -> bool:
    """Whether this process was asked to end."""
    return _has_come.is_set()


def pause(seconds: float) -> None:
    """Sleep, until this process is asked to end at the latest."""
    _has_come.wait(seconds)


@contextmanager
def heeded() -> Iterator[None]:
    """Until the block ends, signals end pauses; only the main thread can see to that.

    The handlers stay whose they are: Python writes each signal to a socket besides.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, tells = socket.socketpair()
    listener = threading.Thread(target=_listen, args=(told,), name="signals", daemon=True)
    listener.start()
    tells.setblocking(False)
    before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        tells.close()  # which ends the listener
        listener.join()
        told.close()
        _has_come.clear()


def _listen(told: socket.socket) -> None:
    while numbers := told.recv(64):
        if not _SIGNALS.isdisjoint(numbers):
            _has_come.set()
