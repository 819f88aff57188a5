"""What a worker is at, as whoever hands it out knows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curator_assets.engine.partitioning import Partition
from curator_assets.engine.stage import Advanced, Failed, Finished


class InHand(dict[Partition, tuple[int, int]]):
    """Partitions that a worker was handed and is not through with -> rows and bytes it told of."""

    def take(self, partition: Partition) -> None:
        """Note that a partition was handed out."""
        self[partition] = 0, 0

    def count(self, item: Any) -> bool:
        """Take note of how far a partition is; whether it is through."""
        if isinstance(item, Advanced) and item.partition in self:
            n_rows, n_bytes = self[item.partition]
            self[item.partition] = n_rows + item.n_rows, n_bytes + item.n_bytes
        elif isinstance(item, Finished | Failed):
            del self[item.partition]
            return True
        return False

    def counted_back(self) -> Iterator[Advanced]:
        """What has to be told where all of it is to be made from its beginning."""
        for partition, (n_rows, n_bytes) in self.items():
            if n_rows:
                yield Advanced(partition, -n_rows, -n_bytes)
