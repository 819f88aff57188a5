"""The two steps that are slow: images on their way through the decoder, and through the model."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from curator_assets.defs.embed.image_rows import ImageRow, take_decoded
from curator_assets.defs.embed.read_samples import PART_BYTES, Part
from curator_assets.engine.workers.task import Supervision
from curator_assets.kernels.ahead import Running

if TYPE_CHECKING:
    import torch

    from curator_assets.kernels.decode import DecodedBatch, ImageDecoder
    from curator_assets.kernels.encode import EncoderModel

_MAX_BYTES = 64 << 20
"""Of image files that are being decoded or come next, beyond calls that keep the decoder busy."""

_MIN_CALLS = 2
"""To the decoder: one that it works on, and the next."""

_MAX_OVERTAKING = 1 << 14
"""Samples that may be read after an image and be through before it."""


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


class Pixels(NamedTuple):
    """Decoded images: float32 [M, 3, S, S], the rows that they are of, samples read before."""

    pixels: "torch.Tensor"
    rows: list[ImageRow]
    n_samples_before: int


_SOMETHING_IS_COMPLETE = Part([])


class Decoding:
    """Images on their way through the decoder."""

    def __init__(self, decoder: "ImageDecoder", supervision: Supervision, spent: Spent) -> None:
        self._decoder, self._supervision, self._spent = decoder, supervision, spent
        self._running = dict[int, _Decoded]()
        self._done = SimpleQueue[int]()
        self._n_begun = self._n_samples = self._n_images = self._n_bytes = 0

    def all_of(self, parts: Iterable[Part]) -> Iterator[Part | Pixels]:
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
            while not self._done.empty() or not self._may_take_a_part():
                yield from self._next_ones()
        while self._running:
            yield from self._next_ones()

    def _has_room(self, images: list[tuple[ImageRow, bytes]]) -> bool:
        return len(self._running) < _MIN_CALLS or (
            self._n_images + len(images) <= 2 * self._decoder.batch_size
            and self._n_bytes + _n_bytes(images) <= _MAX_BYTES
        )

    def _may_take_a_part(self) -> bool:
        """Whether the images of another part may be held, and overtake those that are here."""
        has_room = len(self._running) < _MIN_CALLS or self._n_bytes + PART_BYTES <= _MAX_BYTES
        return has_room and self._n_overtaking() <= _MAX_OVERTAKING

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

    def _next_ones(self) -> Iterator[Part | Pixels]:
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
                yield Pixels(decoded.pixels, readable, running.n_samples_before)
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


class Encoding:
    """Decoded images on their way through the model, always as many as it takes at a time."""

    def __init__(self, model: "EncoderModel", supervision: Supervision, spent: Spent) -> None:
        self._model, self._supervision, self._spent = model, supervision, spent
        self._ready, self._n_ready = deque[Pixels](), 0
        self._running = deque[_Encoded]()
        self._n_samples = 0

    def all_of(self, decoded: Iterable[Part | Pixels]) -> Iterator[Part]:
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
