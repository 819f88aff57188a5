"""Cell assignments as tables, and the digests that tell a cell group's members apart."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import named_damage

if TYPE_CHECKING:
    from curator_assets.kernels.cells import CellAssignment

_MAX_NORM_ERROR = 1e-5


def read_centroids(store: Store) -> np.ndarray:
    """float32 [K, D], unit norm: the codebook.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it holds no unit vectors.
    """
    with named_damage(store, layout.CENTROIDS), store.open(layout.CENTROIDS) as file:
        centroids: np.ndarray = np.load(file)
        off = np.abs(np.linalg.norm(centroids, axis=1) - 1).max()
        if centroids.dtype != np.float32 or not off <= _MAX_NORM_ERROR:
            raise ValueError(f"{centroids.dtype} vectors off unit norm by {off:.2g}")
    return centroids


def assignment_table(samples: pa.Table, rows: np.ndarray, assignment: CellAssignment) -> pa.Table:
    """The table of `cluster_assignments`.

    Args:
        samples: the shard's `image_id`, `shard` and `position` columns.
        rows: int64 [N], the rows of `samples` that have an embedding.
        assignment: of those N images.
    """
    offsets = pa.array(assignment.visit_offsets.astype(np.int32))
    return pa.table(
        {
            "image_id": samples["image_id"].take(rows),
            "shard": samples["shard"].take(rows),
            "position": samples["position"].take(rows),
            "cell": assignment.home,
            "centroid_cosine": assignment.cosine,
            "visits": pa.ListArray.from_arrays(offsets, pa.array(assignment.visits)),
        },
        schema=schemas.ASSIGNMENTS,
    )


def assignment_of(table: pa.Table) -> CellAssignment:
    """The inverse: the assignment of the images of a table."""
    from curator_assets.kernels.cells import CellAssignment

    visits = table["visits"].combine_chunks()
    counts = visits.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    return CellAssignment(
        home=table["cell"].to_numpy(),
        cosine=table["centroid_cosine"].to_numpy(),
        visit_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        visits=visits.flatten().to_numpy(),
    )


class GroupDigests:
    """Hashes of what a shard brings to each cell group, residents and visitors.

    Args:
        group_of: int64 [K], the group of each cell.
    """

    def __init__(self, group_of: np.ndarray) -> None:
        self._group_of = group_of
        self._digests: dict[str, hashlib._Hash] = defaultdict(hashlib.sha256)

    def update(self, embeddings: np.ndarray, rows: np.ndarray, assignment: CellAssignment) -> None:
        """Add images, in the order of the shard.

        Args:
            embeddings: float32 [N, D].
            rows: int64 [N], positions in the shard.
            assignment: of the N images.
        """
        offsets = assignment.visit_offsets
        for i, row in enumerate(rows.tolist()):
            visits = assignment.visits[offsets[i] : offsets[i + 1]]
            member = hashlib.sha256(embeddings[i].tobytes())
            member.update(np.array([row, assignment.home[i], *visits], dtype=np.int64).tobytes())
            groups = {int(self._group_of[assignment.home[i]]), *self._group_of[visits].tolist()}
            for group in groups:
                self._digests[str(group)].update(member.digest())

    def hexdigests(self) -> dict[str, str]:
        """Group number, as text -> 128-bit hex hash, for the groups that any image touches."""
        return {group: digest.hexdigest()[:32] for group, digest in self._digests.items()}
