"""The Hugging Face hub's client, kept to its cache where it would only lose time."""

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import huggingface_hub.constants

_constants = huggingface_hub.constants


@contextmanager
def offline_if_unreachable() -> Iterator[bool]:
    """Keep the hub client to its cache when the hub cannot be reached; tells whether it can't.

    It would retry each file for 25 seconds otherwise.
    """
    is_offline = _constants.HF_HUB_OFFLINE or not _reachable(_constants.ENDPOINT)
    with _offline(is_offline):
        yield is_offline


@contextmanager
def offline() -> Iterator[None]:
    """Keep the hub client to its cache."""
    with _offline(True):
        yield


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    before = _constants.HF_HUB_OFFLINE
    _constants.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        _constants.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    if urllib.request.getproxies():
        return True
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True
