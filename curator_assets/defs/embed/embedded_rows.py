"""From tars to rows of embeddings: reading, looking up, decoding, encoding and writing overlap.

Each step is a generator that runs in a thread of its own, somewhat ahead of the next. An image goes
its own way as fast as it can: what is slow to decode is overtaken, and the encoder gets full
batches of whatever is ready. Rows come out in the order of the tars all the same.

What is held at a time is bounded, whatever the size of a shard.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from curator_assets.defs.embed.image_rows import image_columns, tar_columns
from curator_assets.defs.embed.image_steps import Decoding, Encoding, Spent
from curator_assets.defs.embed.read_samples import Begun, Ended, Part, written_to
from curator_assets.engine.stage import Failed
from curator_assets.engine.workers.task import Supervision
from curator_assets.kernels.ahead import ahead
from curator_assets.storage.shards.tars import Sample

if TYPE_CHECKING:
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.encode import EncoderModel


@dataclass(frozen=True)
class Rows:
    """Finished rows of a shard, and what went into them.

    Attributes:
        table: of `image_embeddings`.
        n_decoded: images that were decoded for them.
        n_encoded: images that were encoded for them.
        n_reused: samples whose image was not decoded for them: its row was known.
        n_again_on_cpu: images that a GPU's decoder gave up on and the CPU's read.
    """

    table: pa.Table
    n_decoded: int
    n_encoded: int
    n_reused: int
    n_again_on_cpu: int


def embedded_rows(
    parts: Iterator[Part],
    decoder: "ImageDecoder",
    model: "EncoderModel",
    storage: str,
    supervision: Supervision,
    spent: Spent,
) -> Iterator[Begun | Rows | Ended | Failed]:
    """The rows of some shards, each shard between `Begun` and `Ended` or `Failed`.

    Args:
        parts: of the shards, with the rows that are known.
        decoder: of the other images.
        model: the encoder.
        storage: the type that embeddings are stored in, `float32` or `float16`.
        supervision: is told of images that are touched.
        spent: is told how long decoding and encoding take.
    """
    decoded = ahead(Decoding(decoder, supervision, spent).all_of(parts), 2, "decode")
    encoded = ahead(Encoding(model, supervision, spent).all_of(decoded), 3, "encode")
    yield from _Telling(model.embedding_dim, storage).all_of(_complete(encoded))


def _complete(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts in their order, each once all of its rows are filled in."""
    waiting, n_seen = deque[Part](), 0
    for part in parts:
        if part.items:
            waiting.append(part)
        while waiting:
            rows = waiting[0].rows
            while n_seen < len(rows) and rows[n_seen].is_complete:
                n_seen += 1
            if n_seen < len(rows):
                break
            n_seen = 0
            yield waiting.popleft()
    assert not waiting, f"{len(waiting)} parts were not completed"


class _Telling:
    """Parts on their way out: tables of rows, and marks."""

    def __init__(self, width: int, storage: str) -> None:
        self._width, self._storage = width, storage
        self._shard, self._is_lost = "", False

    def all_of(self, parts: Iterable[Part]) -> Iterator[Begun | Rows | Ended | Failed]:
        """The rows and the marks of the parts, in order."""
        for part in parts:
            start, samples = 0, list[Sample]()
            for item in part.items:
                if isinstance(item, Sample):
                    samples.append(item)
                    continue
                if samples:
                    yield self._rows(part, start, samples)
                    start, samples = start + len(samples), []
                yield self._marked(item)
            if samples:
                yield self._rows(part, start, samples)

    def _marked(self, mark: Begun | Ended | Failed) -> Begun | Ended | Failed:
        if isinstance(mark, Begun):
            self._shard, self._is_lost = mark.shard, False
        return written_to(self._shard) if self._is_lost and isinstance(mark, Ended) else mark

    def _rows(self, part: Part, start: int, samples: list[Sample]) -> Rows:
        numbers = range(start, start + len(samples))
        rows = [part.rows[i] for i in numbers]
        self._is_lost |= any(row.is_lost for row in rows)
        made = [row for row, i in zip(rows, numbers, strict=True) if i in part.firsts]
        decoded = [row for row in made if row.was_decoded]
        columns = tar_columns(samples, self._shard)
        columns |= image_columns(rows, self._width, self._storage)
        return Rows(
            pa.table(columns),
            n_decoded=len(decoded),
            n_encoded=sum(row.was_encoded for row in decoded),
            n_reused=sum(bool(row.content_hash) for row in rows) - len(decoded),
            n_again_on_cpu=sum(row.again_on_cpu for row in decoded),
        )
