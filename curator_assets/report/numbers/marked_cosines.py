"""Marked pairs by the embeddings that are stored now: their cosines, and those that don't count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from curator_assets.report.numbers.marked_pairs import LeftOutMark, Mark, once_each
from curator_assets.report.numbers.shard_frames import read_ahead
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import embedding_matrix, matching_rows

TOLERANCE = 0.005
"""How far a cosine may lie from that of the table that was marked: another device or precision
moves it by less, another model or another image by more."""

_MARKS_AT_A_TIME = 5_000  # so many pairs of vectors are held


def counted_marks(
    store: Store, shards: Iterable[str], marks: Sequence[Mark], model: str
) -> tuple[list[Mark], list[LeftOutMark]]:
    """The marks that count, with the cosines of the stored embeddings, and those that don't.

    A mark is not told to be left out where another of the same pair counts: it was marked again.
    Read are the ids of the shards that marked images are of, and the row groups that hold them.

    Args:
        store: where the embeddings lie.
        shards: whose embeddings are in force.
        marks: as they were read.
        model: identity of the model in force.

    Raises:
        VerdictError: one pair is marked both ways.
    """
    known, counted, left_out = frozenset(shards), list[Mark](), list[tuple[Mark, str]]()
    marks = sorted(marks, key=lambda mark: (mark.image_id, mark.kept_id))
    for start in range(0, len(marks), _MARKS_AT_A_TIME):
        some = marks[start : start + _MARKS_AT_A_TIME]
        mine = [mark for mark in some if mark.model in ("", model)]
        vectors = _vectors(store, known, {name for m in mine for name in (m.image_id, m.kept_id)})
        for mark in some:
            found = _judged(mark, vectors, model)
            if isinstance(found, Mark):
                counted.append(found)
            else:
                left_out.append((mark, found))
    counted = once_each(counted)
    pairs = {mark.pair for mark in counted}
    others = [LeftOutMark(m.image_id, m.kept_id, why) for m, why in left_out if m.pair not in pairs]
    return counted, others


def _judged(mark: Mark, vectors: Mapping[str, np.ndarray], model: str) -> Mark | str:
    """The mark with its cosine, or why it does not count."""
    if mark.model not in ("", model):
        return f"marked with another model ({mark.model}; {model} is in force)"
    for image_id in (mark.image_id, mark.kept_id):
        if image_id not in vectors:
            return f"{image_id} is no longer among the embedded images"
    one, other = vectors[mark.image_id], vectors[mark.kept_id]
    cosine = 1.0 if np.array_equal(one, other) else min(float(one @ other), 1.0)
    if not abs(cosine - mark.cosine) <= TOLERANCE:  # as written, also for what is no number
        other_model = "" if mark.model else " or the model is another"
        why = f"an image was replaced{other_model} since it was marked"
        return f"its cosine was {mark.cosine:.4f} and is {cosine:.4f}: {why}"
    return replace(mark, cosine=cosine)


def _vectors(store: Store, shards: frozenset[str], ids: set[str]) -> dict[str, np.ndarray]:
    """Image id -> float32 [D], unit norm, of those that are stored."""
    by_shard = dict[str, list[str]]()
    for image_id in sorted(ids):
        for shard in _shards_of(image_id, shards):
            by_shard.setdefault(shard, []).append(image_id)
    found = dict[str, np.ndarray]()
    for names, matrix in read_ahead(list(by_shard), partial(_read, store, by_shard)):
        found.update(zip(names, matrix, strict=True))
    return found


def _shards_of(image_id: str, shards: frozenset[str]) -> Iterator[str]:
    """The shards that an id may be of: it begins with its shard, and keys may hold slashes."""
    shard, slash, _ = image_id.rpartition("/")
    while slash:
        if shard in shards:
            yield shard
        shard, slash, _ = shard.rpartition("/")


def _read(store: Store, ids: Mapping[str, list[str]], shard: str) -> tuple[list[str], np.ndarray]:
    """Those of some ids that a shard holds, and float32 [n, D], their vectors."""
    wanted, columns = pa.array(ids[shard], pa.string()), ["image_id", "embedding"]
    try:
        table = matching_rows(store, layout.embeddings(shard), "image_id", wanted, columns)
    except FileNotFoundError:
        return [], np.zeros((0, 0), np.float32)
    matrix, readable = embedding_matrix(table)
    return table["image_id"].take(pa.array(readable)).to_pylist(), matrix
