"""Cell assignments as tables, and the digests that tell a cell group's members apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.cell_rows import CellRows
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


def read_prefix_directions(store: Store) -> np.ndarray | None:
    """float32 [D, p]: what the prefixes of the search are taken along; None without prefixes.

    Raises:
        FileNotFoundError: there is no codebook.
        DamagedFileError: they are not nearly orthonormal.
    """
    with (
        named_damage(store, layout.PREFIX_DIRECTIONS),
        store.open(layout.PREFIX_DIRECTIONS) as file,
    ):
        directions: np.ndarray = np.load(file)
        off = np.abs(directions.T @ directions - np.eye(directions.shape[1])).max(initial=0)
        if directions.dtype != np.float32 or not off <= _MAX_NORM_ERROR:
            raise ValueError(f"{directions.dtype} directions off orthonormal by {off:.2g}")
    return directions if directions.shape[1] else None


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


def group_digest(rows: CellRows) -> str:
    """128-bit hex hash of what a shard brings to a cell group, residents and visitors."""
    order = np.argsort(rows.position)
    digest = hashlib.sha256(np.ascontiguousarray(rows.position[order]).data)
    digest.update(np.ascontiguousarray(rows.key[order]).data)
    return digest.hexdigest()[:32]
