"""Columns of hashes as numbers."""

from __future__ import annotations

from binascii import unhexlify

import numpy as np
import pyarrow as pa

_BYTES = 16


def hash_numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Of a column of 128-bit hashes in hex: those that are there.

    Returns:
        int64 [n], their rows, ascending; uint64 [n, 2].

    Raises:
        ValueError: one has another length.
    """
    hashes = pa.concat_arrays([pa.array([], pa.string()), *column.chunks])
    rows = np.flatnonzero(hashes.is_valid().to_numpy(zero_copy_only=False))
    hashes = hashes.drop_null()
    _, ends, text = hashes.buffers()
    offsets = np.frombuffer(ends, np.int32, len(hashes) + 1, hashes.offset * 4)
    if (np.diff(offsets) != 2 * _BYTES).any():
        raise ValueError(f"a hash that is not of {2 * _BYTES} hex digits")
    digits = text[offsets[0] : offsets[-1]] if len(rows) else b""
    return rows, np.frombuffer(unhexlify(digits), ">u8").astype(np.uint64).reshape(-1, 2)
