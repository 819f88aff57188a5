"""A network of one's own, in which there is nothing but this machine's loopback."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from unittest.mock import patch

import fsspec.asyn

_CLONE_NEWNET, _SIOCSIFFLAGS, _IFF_UP = 0x40000000, 0x8914, 0x1


class NoRightError(Exception):
    """This process may not make namespaces."""


@contextmanager
def own_network() -> Iterator[None]:
    """This thread, and whatever it starts, reaches nothing but itself until the block ends.

    A thread stays in the network that it was started in, so fsspec's clients get another one.

    Raises:
        NoRightError: says what is missing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            error = os.strerror(ctypes.get_errno())
            raise NoRightError(f"no right to make a network namespace ({error})")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
            with patch.multiple(fsspec.asyn, loop=[None], iothread=[None]):
                yield
        finally:
            libc.setns(before, _CLONE_NEWNET)
    finally:
        os.close(before)
