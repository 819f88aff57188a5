import errno
import os

import pytest

from curator_assets.storage.store import Store
from curator_assets.storage.tables.scratch import all_embeddings


def test_a_full_disk_says_how_much_the_search_needs_and_where(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    expected = rf"No space left on device: the search needs 8,000 bytes: '{tmp_path}'"
    with (
        pytest.raises(OSError, match=expected),
        all_embeddings(Store(str(tmp_path)), [], n_images=20, width=100),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_it_even_if_the_process_is_killed(tmp_path):
    with all_embeddings(Store(str(tmp_path)), [], n_images=20, width=100) as matrix:
        matrix[:] = 1
        assert matrix.sum() == 2000
        assert list(tmp_path.iterdir()) == []  # it has no name
