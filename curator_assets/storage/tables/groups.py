"""The table of `duplicate_groups`, shard by shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa

from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import TableWriter, read_row_group, read_row_groups

_ROW_GROUP_ROWS = 2**16
_ROW_GROUPS_HELD = 4


@contextmanager
def written_groups(store: Store) -> Iterator[TableWriter]:
    """Takes the rows of shard after shard; the table is there when the block ends."""
    name = layout.DUPLICATE_GROUPS
    with (
        store.write(name) as file,
        TableWriter(file, name, schemas.DUPLICATE_GROUPS, _ROW_GROUP_ROWS) as writer,
    ):
        yield writer


def read_removals(store: Store) -> Iterator[tuple[str, pa.Table]]:
    """Each shard that has removed images, in order of arrival, and its rows.

    No more is held than a row group and the rows of a shard.
    """
    return removals_by_shard(read_row_groups(store, layout.DUPLICATE_GROUPS))


def removals_by_shard(parts: Iterable[pa.Table]) -> Iterator[tuple[str, pa.Table]]:
    """Each shard that has any of the rows, and these, in the order of the tar.

    Args:
        parts: of a table of `duplicate_groups`; the rows of a shard lie together.
    """
    last, held = "", list[pa.Table]()
    for part in parts:
        for shard, rows in _runs(part):
            if held and shard != last:
                yield last, pa.concat_tables(held)
                held = []
            last = shard
            held.append(rows)
    if held:
        yield last, pa.concat_tables(held)


class StoredRemovals:
    """The stored table, for readers that ask for one shard or another.

    Held are where each shard's rows lie and a few row groups.

    Args:
        store: where it lies.
    """

    def __init__(self, store: Store) -> None:
        self._spans = dict[str, list[tuple[int, int, int]]]()  # row group, first row, rows
        parts = read_row_groups(store, layout.DUPLICATE_GROUPS, ["shard"])
        for group, part in enumerate(parts):
            start = 0
            for shard, rows in _runs(part):
                self._spans.setdefault(shard, []).append((group, start, len(rows)))
                start += len(rows)
        read = partial(read_row_group, store, layout.DUPLICATE_GROUPS)
        self._read = lru_cache(_ROW_GROUPS_HELD)(read)

    def of(self, shard: str) -> pa.Table:
        """The rows of a shard, in the order of the tar; maybe none."""
        parts = [
            self._read(group).slice(start, n) for group, start, n in self._spans.get(shard, [])
        ]
        return pa.concat_tables([schemas.DUPLICATE_GROUPS.empty_table(), *parts])


def _runs(part: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The runs of rows of one shard."""
    if not len(part):
        return
    shards = part["shard"].unify_dictionaries().combine_chunks()
    codes = shards.indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(codes)], strict=True):
        yield shards.dictionary[int(codes[start])].as_py(), part.slice(start, end - start)


def removals_version(removed: pa.Table) -> str:
    """A hash of what is removed from a shard, of its table of `duplicate_ids`.

    Args:
        removed: its rows of `duplicate_groups`.
    """
    digest = hashlib.sha256(str(len(removed)).encode())
    for name in ("id", "kept_id"):
        digest.update("".join(f"{one}\0" for one in removed[name].to_pylist()).encode())
    digest.update(removed["cosine"].to_numpy().astype("<f4").tobytes())
    return digest.hexdigest()[:32]
