"""From tars to rows of embeddings: reading, looking up, decoding, encoding and writing overlap.

Each step is a generator that runs in a thread of its own, somewhat ahead of the next. An image goes
its own way as fast as it can: what is slow to decode is overtaken, and the encoder gets full
batches of whatever is ready. Rows come out in the order of the tars all the same.

What is held at a time is bounded, whatever the size of a shard.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from curator_assets.defs.embed.image_rows import (
    ImageRow,
    image_columns,
    take_decoded,
    tar_columns,
)
from curator_assets.defs.embed.read_samples import PART_BYTES, Begun, Ended, Part, written_to
from curator_assets.engine.stage import Failed
from curator_assets.engine.workers.task import Supervision
from curator_assets.kernels.ahead import Running, ahead
from curator_assets.storage.shards.tars import Sample

if TYPE_CHECKING:
    import torch

    from curator_assets.kernels.decode import DecodedBatch, ImageDecoder
    from curator_assets.kernels.encode import EncoderModel

_MAX_BYTES = 2 * PART_BYTES
"""Of image files that are being decoded, beyond the calls that keep the decoder busy."""

_MIN_CALLS = 2
"""To the decoder: one that it works on, and the next."""

_MAX_OVERTAKING = 1 << 14
"""Samples that may be read after an image and be through before it."""


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


@dataclass
class Spent:
    """How long each step worked.

    Attributes:
        seconds: step -> up to now.
    """

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def on(self, step: str) -> Iterator[None]:
        """Count the time inside towards a step."""
        started = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - started

    def over(self, items: Iterable[Part], step: str) -> Iterator[Part]:
        """The items; the time to get them counts towards a step."""
        left = iter(items)
        while True:
            with self.on(step):
                item = next(left, None)
            if item is None:
                return
            yield item


class _Pixels(NamedTuple):
    """Decoded images: float32 [M, 3, S, S], the rows that they are of, samples read before."""

    pixels: "torch.Tensor"
    rows: list[ImageRow]
    n_samples_before: int


_SOMETHING_IS_COMPLETE = Part([])


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
    decoded = ahead(_Decoding(decoder, supervision, spent).all_of(parts), 1, "decode")
    encoded = ahead(_Encoding(model, supervision, spent).all_of(decoded), 2, "encode")
    yield from _Telling(model.embedding_dim, storage).all_of(_complete(encoded))


class _Decoding:
    """Images on their way through the decoder."""

    def __init__(self, decoder: "ImageDecoder", supervision: Supervision, spent: Spent) -> None:
        self._decoder, self._supervision, self._spent = decoder, supervision, spent
        self._running = dict[int, _Decoded]()
        self._done = SimpleQueue[int]()
        self._n_begun = self._n_samples = self._n_images = self._n_bytes = 0

    def all_of(self, parts: Iterable[Part]) -> Iterator[Part | _Pixels]:
        """The parts, and the pixels of their images as they come."""
        n = self._decoder.n_at_once
        for part in parts:
            self._n_samples += len(part.rows)
            images, part.to_decode = deque(part.to_decode), []
            yield part
            while images:
                some = [images.popleft() for _ in range(min(n, len(images)))]
                while not self._has_room(some):
                    yield from self._next_ones()
                self._begin(some)
            while not self._done.empty() or self._n_overtaking() > _MAX_OVERTAKING:
                yield from self._next_ones()
        while self._running:
            yield from self._next_ones()

    def _has_room(self, images: list[tuple[ImageRow, bytes]]) -> bool:
        if not self._running:
            return True
        return len(self._running) < _MIN_CALLS or (
            self._n_images + len(images) <= 2 * self._decoder.batch_size
            and self._n_bytes + _n_bytes(images) <= _MAX_BYTES
        )

    def _n_overtaking(self) -> int:
        """Samples that were read after the oldest image that is being decoded."""
        oldest = next(iter(self._running.values()), None)
        return self._n_samples - oldest.n_samples_before if oldest else 0

    def _begin(self, images: list[tuple[ImageRow, bytes]]) -> None:
        rows, number = [row for row, _ in images], self._n_begun
        with self._spent.on("decode"):
            watch = self._supervision.watching([row.content_hash for row in rows])
            decoding = self._decoder.begin([data for _, data in images], watch)
        self._running[number] = _Decoded(rows, decoding, _n_bytes(images), self._n_samples)
        self._n_begun += 1
        self._n_images += len(rows)
        self._n_bytes += _n_bytes(images)
        decoding.when_done(partial(self._done.put, number))

    def _next_ones(self) -> Iterator[Part | _Pixels]:
        """What is decoded by now, or next."""
        with self._spent.on("decode"):
            done = [self._done.get()]
        while not self._done.empty():
            done.append(self._done.get())
        for number in done:
            running = self._running.pop(number)
            self._n_images -= len(running.rows)
            self._n_bytes -= running.n_bytes
            with self._spent.on("decode"):
                decoded = running.decoding()
                readable = take_decoded(running.rows, decoded)
            if readable:
                yield _Pixels(decoded.pixels, readable, running.n_samples_before)
            if len(readable) < len(running.rows):
                yield _SOMETHING_IS_COMPLETE


class _Decoded(NamedTuple):
    """Images that are being decoded: their rows, how many bytes, and samples read before."""

    rows: list[ImageRow]
    decoding: "Running[DecodedBatch]"
    n_bytes: int
    n_samples_before: int


def _n_bytes(images: Iterable[tuple[ImageRow, bytes]]) -> int:
    return sum(len(data) for _, data in images)


class _Encoding:
    """Decoded images on their way through the model, always as many as it takes at a time."""

    def __init__(self, model: "EncoderModel", supervision: Supervision, spent: Spent) -> None:
        self._model, self._supervision, self._spent = model, supervision, spent
        self._ready, self._n_ready = deque[_Pixels](), 0
        self._running = deque[_Encoded]()
        self._n_samples = 0

    def all_of(self, decoded: Iterable[Part | _Pixels]) -> Iterator[Part]:
        """The parts; rows are filled in by the time that the next one comes.

        Images wait for others to fill a batch, but not for ever: what is known already goes on
        without them, and waits for them in memory.
        """
        n_ahead = self._model.n_threads if self._model.device.type == "cpu" else 1
        for found in decoded:
            if isinstance(found, Part):
                yield found
                self._n_samples += len(found.rows)
                while self._is_awaited():
                    if not self._running:
                        self._begin(self._n_ready)
                    yield self._finished()
                continue
            self._ready.append(found)
            self._n_ready += len(found.rows)
            while self._n_ready >= self._model.batch_size:
                self._begin(self._model.batch_size)
                if len(self._running) > n_ahead:
                    yield self._finished()
        if self._n_ready:
            self._begin(self._n_ready)
        while self._running:
            yield self._finished()

    def _begin(self, n: int) -> None:
        import torch

        with self._spent.on("encode"):
            pixels, rows = list[torch.Tensor](), list[ImageRow]()
            oldest = min(ready.n_samples_before for ready in self._ready)
            while len(rows) < n:
                first, missing = self._ready.popleft(), n - len(rows)
                if len(first.rows) > missing:
                    rest = first._replace(pixels=first.pixels[missing:], rows=first.rows[missing:])
                    self._ready.appendleft(rest)
                    first = first._replace(pixels=first.pixels[:missing], rows=first.rows[:missing])
                pixels.append(first.pixels)
                rows += first.rows
            self._n_ready -= n
            watch = self._supervision.watching([row.content_hash for row in rows])
            together = pixels[0] if len(pixels) == 1 else torch.cat(pixels)
            self._running.append(_Encoded(rows, self._model.begin(together, watch), oldest))

    def _is_awaited(self) -> bool:
        """Whether too many samples have come since the oldest image did."""
        oldest = (
            self._running[0].n_samples_before
            if self._running
            else min((ready.n_samples_before for ready in self._ready), default=self._n_samples)
        )
        return self._n_samples - oldest > _MAX_OVERTAKING

    def _finished(self) -> Part:
        rows, embeddings, _ = self._running.popleft()
        with self._spent.on("encode"):
            for row, embedding in zip(rows, embeddings(), strict=True):
                row.embedding, row.was_encoded, row.is_complete = embedding, True, True
        return _SOMETHING_IS_COMPLETE


class _Encoded(NamedTuple):
    """Images that are being encoded: their rows, and samples read before the oldest."""

    rows: list[ImageRow]
    embeddings: Callable[[], np.ndarray]
    n_samples_before: int


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
