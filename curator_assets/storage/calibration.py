"""The planted calibration: which samples it takes, and its tables.

Only a few shards are looked at, so that its cost does not grow with the dataset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curator_assets.storage import layout
from curator_assets.storage.shards.pixels import read_images
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import content_hash
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import embedding_matrix, read_table

MAX_SHARDS = 8
MAX_POOL_PER_SHARD = 4096
EPS_GRID = (0.01, 0.02, 0.03, 0.05, 0.1)
RANDOM_PAIRS = "random pairs"
"""`transform` of the pairs of different images."""

_IN_MEMORY = 64  # images at a time

QUANTILES = {
    "min": 0.0,
    "p1": 0.01,
    "p5": 0.05,
    "p25": 0.25,
    "median": 0.5,
    "p75": 0.75,
    "p99": 0.99,
    "p99_9": 0.999,
    "max": 1.0,
}


class ChangedTarError(RuntimeError):
    """A tar no longer holds the images that were embedded."""


class ChosenImage(NamedTuple):
    """An image to copy, as it was embedded."""

    position: int
    image_id: str
    content_hash: str


def choose_shards(shards: Iterable[str], *, seed: int) -> list[str]:
    """A seeded choice of at most `MAX_SHARDS` shards, in name order."""
    names = sorted(shards)
    if len(names) <= MAX_SHARDS:
        return names
    chosen = np.random.default_rng(seed).choice(len(names), MAX_SHARDS, replace=False)
    return [names[i] for i in np.sort(chosen)]


def choose_samples(
    store: Store, shards: Sequence[str], *, n_images: int, seed: int
) -> dict[str, list[ChosenImage]]:
    """A seeded, uniform choice of readable samples, or all if there are no more.

    Returns:
        shard -> its chosen images, positions ascending.
    """
    readable = []
    for shard in shards:
        table = read_table(store, layout.embeddings(shard), [*ChosenImage._fields, "error"])
        table = table.filter(table["error"].is_null())
        columns = (table[name].to_pylist() for name in ChosenImage._fields)
        readable += [(shard, ChosenImage(*row)) for row in zip(*columns, strict=True)]
    n_chosen = min(n_images, len(readable))
    chosen = np.random.default_rng(seed).choice(len(readable), n_chosen, replace=False)
    by_shard: dict[str, list[ChosenImage]] = {}
    for i in np.sort(chosen):
        shard, image = readable[i]
        by_shard.setdefault(shard, []).append(image)
    return by_shard


def read_chosen(
    tars: Source, store: Store, shard: str, chosen: Sequence[ChosenImage]
) -> Iterator[tuple[str, bytes]]:
    """Image id and encoded bytes of some images of a tar, a few of them in memory at a time.

    Raises:
        ChangedTarError: it holds other images than when it was embedded, or was touched since, so
            that it is not known what it holds.
        FileNotFoundError: it is gone.
    """
    tars.signature(shard)
    for start in range(0, len(chosen), _IN_MEMORY):
        images = chosen[start : start + _IN_MEMORY]
        found = read_images(tars, store, [(shard, image.position) for image in images])
        for image in images:
            data = found.get((shard, image.position))
            if data is None or content_hash(data) != image.content_hash:
                raise ChangedTarError(
                    f"shard {shard!r} has changed since it was embedded, or was touched; "
                    "embed it again"
                )
            yield image.image_id, data


def embedding_pool(
    store: Store, shards: Sequence[str], *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Stored embeddings of some shards, at most `MAX_POOL_PER_SHARD` of each, seeded.

    Returns:
        float32 [N, D], unit norm; and int64 [N], equal for images with the very same bytes.
    """
    rng = np.random.default_rng(seed)
    parts, contents = [], list[str]()
    for shard in shards:
        table = read_table(store, layout.embeddings(shard), ["content_hash", "embedding"])
        matrix, rows = embedding_matrix(table)
        chosen = np.sort(rng.permutation(len(rows))[:MAX_POOL_PER_SHARD])
        parts.append(matrix[chosen])
        contents += table["content_hash"].take(pa.array(rows[chosen])).to_pylist()
    return np.concatenate(parts), np.unique(contents, return_inverse=True)[1]


def summarise(cosines: pa.Table) -> pa.Table:
    """A row a transform, random pairs last: quantiles of the cosine, and what each eps would find.

    Args:
        cosines: of schema `CALIBRATION_COSINES`.

    Returns:
        a table of schema `CALIBRATION`.
    """
    rows = []
    for transform, values in by_transform(cosines).items():
        quantiles = np.quantile(values, list(QUANTILES.values()))
        row = {"transform": transform, "n": len(values)}
        row |= dict(zip(QUANTILES, quantiles.tolist(), strict=True))
        row |= {f"found_at_eps_{eps:g}": found_fraction(values, eps) for eps in EPS_GRID}
        rows.append(row)
    return pa.Table.from_pylist(rows)


def by_transform(cosines: pa.Table) -> dict[str, np.ndarray]:
    """Transform -> float32 cosines, in the order in which transforms first appear."""
    names, values = cosines["transform"].to_numpy(), cosines["cosine"].to_numpy()
    return {name: values[names == name] for name in dict.fromkeys(names.tolist())}


def found_fraction(cosines: np.ndarray, eps: float) -> float:
    """The share of pairs that a search at `eps` finds."""
    return float((cosines >= np.float32(1 - eps)).mean())
