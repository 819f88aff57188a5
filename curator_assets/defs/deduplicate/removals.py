"""Who is removed, by name: the ids are looked up shard by shard, first of those that are kept.

Legend: *N samples of all shards, n removed images*.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.defs.deduplicate.stored_pairs import StoredPairs
from curator_assets.kernels import sorted_runs
from curator_assets.kernels.sorted_runs import Records, SortedRuns
from curator_assets.storage.tables import schemas

if TYPE_CHECKING:
    from curator_assets.kernels.nodes import Nodes

_RECORD_BYTES = 24  # at most, beside the id


class Removals:
    """The removed images, each with the one that stands for it.

    Args:
        stored: whose images they are.
        nodes: that stand for images.
        verdicts: records of `row`, `kept` and `cosine`, each row once.

    Attributes:
        n_images: removed.
        n_groups: images that stand for others.
        largest_group: images of the largest group, the one that is kept among them.
        n_orphans: removed for an image that is itself removed or takes no part.
    """

    def __init__(self, stored: StoredPairs, nodes: "Nodes", verdicts: Iterable[Records]) -> None:
        self._stored = stored
        by_kept, removed = SortedRuns("kept", stored.scratch.open), np.zeros(len(nodes.node), bool)
        for records in verdicts:
            removed[records["row"]] = True
            by_kept.append(records)
        self.n_images, self.n_groups, self.largest_group, self.n_orphans = len(by_kept), 0, 0, 0
        self._by_shard = SortedRuns("shard", stored.scratch.open)
        for records in by_kept.pieces():
            kept, sizes = np.unique(records["kept"], return_counts=True)
            self.n_groups += len(kept)
            self.largest_group = max(self.largest_group, 1 + int(sizes.max()))
            is_orphaned = removed[kept] | ~nodes.stand(kept)
            self.n_orphans += int(sizes[is_orphaned].sum())
            self._name_kept(records)

    def tables(self) -> Iterator[pa.Table]:
        """The rows of `duplicate_groups`: a table a shard, in order of arrival."""
        for records in self._by_shard.pieces():
            ordered = records[np.argsort(records["row"])]
            for shard, ids, mine in self._named(ordered, "row"):
                yield self._table(shard, ids, mine)

    def _name_kept(self, records: Records) -> None:
        """Note the ids of the kept images with the removed ones; records are ordered by `kept`."""
        change = np.flatnonzero(np.diff(records["kept"].astype(np.int64), prepend=-1))
        groups = np.repeat(np.arange(len(change)), np.diff(change, append=len(records)))
        done = 0  # groups, of which one may have any number of images
        for _, ids, kept in self._named(records[change], "kept"):
            names = np.array([name.encode() for name in ids.to_pylist()], np.bytes_)
            first, last = np.searchsorted(groups, (done, done + len(kept)))
            n_at_once = max(1, sorted_runs.RUN_BYTES // (names.itemsize + _RECORD_BYTES))
            for start in range(first, last, n_at_once):
                part = slice(start, min(start + n_at_once, last))
                self._by_shard.append(self._record(records[part], names[groups[part] - done]))
            done += len(kept)

    def _record(self, records: Records, kept_ids: np.ndarray) -> Records:
        """The records with the number of their shard and the kept ids."""
        fields = [("shard", np.uint32), *records.dtype.descr, ("kept_id", kept_ids.dtype)]
        named = np.empty(len(records), fields)
        starts = self._stored.numbers.starts
        named["shard"] = np.searchsorted(starts, records["row"], side="right") - 1
        for field in records.dtype.names or ():
            named[field] = records[field]
        named["kept_id"] = kept_ids  # no id ends in a zero byte: a tar's names end at one
        return named

    def _named(self, records: Records, field: str) -> Iterator[tuple[str, pa.Array, Records]]:
        """Of records in order of the rows in a field: each shard, the ids of its, and its own."""
        numbers, done = self._stored.numbers, 0
        for shard, rows in numbers.by_shard(records[field]):
            at = pa.array(rows.astype(np.int64) - numbers.rows_of(shard).start)
            yield shard, self._stored.ids(shard).take(at), records[done : done + len(rows)]
            done += len(rows)

    def _table(self, shard: str, ids: pa.Array, records: Records) -> pa.Table:
        numbers = self._stored.numbers
        kept_shards, kept_positions = numbers.names(records["kept"].astype(np.int64))
        first_row = numbers.rows_of(shard).start
        columns = {
            "shard": pa.DictionaryArray.from_arrays(
                np.zeros(len(ids), np.int32), pa.array([shard])
            ),
            "position": (records["row"] - first_row).astype(np.int32),
            "id": ids,
            "kept_id": pa.array(np.ascontiguousarray(records["kept_id"])).cast(pa.string()),
            "cosine": records["cosine"],
            "kept_shard": kept_shards,
            "kept_position": kept_positions,
        }
        return pa.table(columns, schema=schemas.DUPLICATE_GROUPS)
