"""Seeded draws by name: those of the lowest numbers are a sample, however the names come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def draw_numbers(names: Iterable[str], *, seed: int) -> NDArray[np.uint64]:
    """uint64 [n]: a hash of seed and name, so no draw depends on the others."""
    key = str(seed).encode()
    digests = [hashlib.blake2b(name.encode(), key=key, digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
