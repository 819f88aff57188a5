import numpy as np
import pyarrow as pa
import pytest

from curator_assets.storage.tables.hash_columns import hash_numbers


def test_hashes_are_read_whatever_is_missing_between_them():
    names = ["00" * 8 + "ff" * 8, None, "01" + "00" * 15, None]
    column = pa.chunked_array([pa.array(names[:3]), pa.array(names[2:]).slice(0, 1)])
    rows, hashes = hash_numbers(column.slice(0, 4))
    assert rows.tolist() == [0, 2, 3]
    assert hashes.tolist() == [[0, 2**64 - 1], [2**56, 0], [2**56, 0]]
    assert hashes.dtype == np.uint64


def test_no_hash_at_all():
    for column in (pa.chunked_array([], pa.string()), pa.chunked_array([pa.nulls(2, pa.string())])):
        rows, hashes = hash_numbers(column)
        assert (len(rows), hashes.shape) == (0, (0, 2))


def test_another_length_is_refused():
    with pytest.raises(ValueError, match="not of 32 hex digits"):
        hash_numbers(pa.chunked_array([["00" * 15, "00" * 17]]))
