"""Ports of 127.0.0.1 that stay a test's own until its server listens, and while it is stopped."""

import socket


class HeldPort:
    """A free one, which goes to no other process for as long as this object lives.

    A socket is bound to it that does not listen. Linux lets a server listen there all the same if
    it asks for SO_REUSEADDR, as servers do; no client and no other held port gets it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not before: it is free
        self.number: int = self._socket.getsockname()[1]

    def __del__(self) -> None:
        self._socket.close()
