"""From tars to tables of embeddings: reading, decoding, encoding and writing overlap.

Each step is a generator that runs in a thread of its own, a few batches ahead of the next. Batches
run across the ends of shards, so a run of small shards keeps the encoder as busy as one large one.
What is held at a time is bounded by the batches in flight, whatever the size of a shard.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, groupby, islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.defs.embed.row_columns import image_columns, named, tar_columns
from curator_assets.engine.stage import Failed
from curator_assets.engine.workers.task import Supervision
from curator_assets.masking import masked_error
from curator_assets.settings import ModelSettings
from curator_assets.storage.retries import pause_before_retry
from curator_assets.storage.shards.source import Signature, Source
from curator_assets.storage.shards.tars import (
    BrokenTarError,
    Member,
    RepeatedKeyError,
    Sample,
    TarContent,
)
from curator_assets.storage.tables.parquet import embedding_column

if TYPE_CHECKING:
    from curator_assets.kernels.decode import DecodedBatch, ImageDecoder
    from curator_assets.kernels.encode import EncoderModel

UNIQUE_IDS = "unique_ids"
"""The check that a tar with two samples of one key fails."""

_BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class Begun:
    """A shard begins."""

    shard: str


@dataclass(frozen=True)
class Rows:
    """Finished rows of a shard, and what went into them.

    Attributes:
        table: of `image_embeddings`.
        seconds: step -> how long it worked on them.
        n_again_on_cpu: images among them that a GPU's decoder gave up on and the CPU's read.
    """

    table: pa.Table
    seconds: dict[str, float]
    n_again_on_cpu: int


@dataclass(frozen=True)
class Ended:
    """A shard was read to its end, as it was when it had this signature."""

    content: TarContent
    signature: Signature


@dataclass
class _Batch:
    """Samples of one or more shards in the order of the tars, and what became of them so far.

    Attributes:
        items: samples between the marks of their shards; None for a sample once it is decoded, so
            that its bytes are let go.
        seconds: step -> how long it worked on the batch.
        columns: of `image_embeddings`, a value for each sample.
        again_on_cpu: int64, ascending, the samples whose image only the CPU's decoder could read.
        names: the content hashes of the images that were decoded.
    """

    items: list[Sample | Begun | Ended | Failed | None]
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    columns: dict[str, pa.Array] = field(default_factory=dict)
    again_on_cpu: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    names: list[str] = field(default_factory=list)
    decoded: "DecodedBatch | None" = None

    def samples(self) -> list[Sample]:
        """Those that are not decoded yet."""
        return [item for item in self.items if isinstance(item, Sample)]

    def images(self, supervision: Supervision) -> dict[int, Member]:
        """The image of each of those samples that is to be decoded, by the sample's place."""
        return {
            place: sample.image
            for place, sample in enumerate(self.samples())
            if sample.image
            and sample.image.data is not None
            and supervision.may_be_touched(sample.image.content_hash)
        }

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the time inside towards a step."""
        started = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - started


def embedded_rows(
    shards: Iterable[str],
    tars: Source,
    decoder: "ImageDecoder",
    model: "EncoderModel",
    settings: ModelSettings,
    log: logging.Logger,
    supervision: Supervision,
) -> Iterator[Begun | Rows | Ended | Failed]:
    """The rows of some shards, each shard between `Begun` and `Ended` or `Failed`.

    Args:
        shards: in the order in which to read them.
        tars: where they lie.
        decoder: of the images.
        model: the encoder.
        settings: of the model: how embeddings are stored.
        log: told of storage that is tried again.
        supervision: says which images are not to be touched, and is told of those that are.
    """
    from curator_assets.kernels.ahead import ahead

    batches = ahead(_batches(_read(shards, tars, log), decoder.batch_size), 1, "read")
    decoded = ahead(_decode(batches, decoder, supervision), 2, "decode")
    encoded = ahead(_encode(decoded, model, settings.storage, supervision), 2, "encode")
    shard = ""
    for batch in encoded:
        rows, start = pa.table(batch.columns), 0
        for mark, group in groupby(batch.items):
            n = sum(1 for _ in group)
            if mark is None:
                seconds = {step: s * n / len(rows) for step, s in batch.seconds.items()}
                again = np.searchsorted(batch.again_on_cpu, [start, start + n])
                table = named(rows.slice(start, n), shard)
                yield Rows(table, seconds, int(again[1] - again[0]))
                start += n
            else:
                assert not isinstance(mark, Sample)
                shard = mark.shard if isinstance(mark, Begun) else shard
                yield mark


def _read(
    shards: Iterable[str], tars: Source, log: logging.Logger
) -> Iterator[Sample | Begun | Ended | Failed]:
    for shard in shards:
        yield Begun(shard)
        try:
            yield from _read_shard(shard, tars, log)
        except RepeatedKeyError as error:
            yield Failed(shard, str(error), check=UNIQUE_IDS)
        except (BrokenTarError, OSError) as error:
            yield Failed(shard, str(error))
        except Exception as error:  # whatever one tar does, the others are read
            log.error("shard %r can't be read", shard, exc_info=masked_error(error))
            yield Failed(shard, f"shard {shard!r} can't be read: {type(error).__name__}: {error}")


def _read_shard(shard: str, tars: Source, log: logging.Logger) -> Iterator[Sample | Ended | Failed]:
    """The samples of a tar; where its storage fails for a moment they go on where they stopped."""
    signature: Signature | None = None
    n_given = 0
    for attempt in count(1):
        try:
            signature = signature or tars.signature(shard)
            content = TarContent(shard)
            with tars.open(shard) as file:
                for sample in islice(content.samples(file), n_given, None):
                    n_given += 1
                    yield sample
            is_same = tars.signature(shard) == signature
        except OSError as error:
            if not pause_before_retry(error, attempt, f"shard {shard!r}", log):
                raise
            continue
        if is_same:
            yield Ended(content, signature)
        else:
            message = f"shard {shard!r} was written to while it was read; run it again"
            yield Failed(shard, message)
        return


def _batches(items: Iterator[Sample | Begun | Ended | Failed], batch_size: int) -> Iterator[_Batch]:
    """Batches of up to so many images, and of some megabytes."""
    batch, n_images, n_bytes = _Batch([]), 0, 0
    started = time.perf_counter()
    for item in items:
        batch.items.append(item)
        if isinstance(item, Sample) and item.image and item.image.data is not None:
            n_images, n_bytes = n_images + 1, n_bytes + len(item.image.data)
        n_items = len(batch.items)
        if n_images == batch_size or n_bytes >= _BATCH_BYTES or n_items == 16 * batch_size:
            batch.seconds["read"] = time.perf_counter() - started
            yield batch
            batch, n_images, n_bytes = _Batch([]), 0, 0
            started = time.perf_counter()
    yield batch


def _decode(
    batches: Iterable[_Batch], decoder: "ImageDecoder", supervision: Supervision
) -> Iterator[_Batch]:
    from curator_assets.kernels.ahead import begun_ahead

    def begin(batch: _Batch) -> "Callable[[], DecodedBatch]":
        with batch.timed("decode"):
            images = list(batch.images(supervision).values())
            watch = supervision.watching([image.content_hash for image in images])
            return decoder.begin([image.data or b"" for image in images], watch)

    for batch, decoded in begun_ahead(batches, begin, 1):
        with batch.timed("decode"):
            batch.decoded = decoded()
            samples, images = batch.samples(), batch.images(supervision)
            at = np.fromiter(images, np.int64, len(images))
            batch.columns = tar_columns(samples)
            batch.columns |= image_columns(batch.decoded, at, samples, supervision.blamed)
            batch.again_on_cpu = at[batch.decoded.again_on_cpu]
            batch.names = [images[place].content_hash for place in at[batch.decoded.ok]]
            batch.items = [None if isinstance(item, Sample) else item for item in batch.items]
        yield batch


def _encode(
    batches: Iterable[_Batch], model: "EncoderModel", storage: str, supervision: Supervision
) -> Iterator[_Batch]:
    from curator_assets.kernels.ahead import begun_ahead

    def begin(batch: _Batch) -> "Callable[[], np.ndarray]":
        assert batch.decoded is not None
        with batch.timed("encode"):
            begun = model.begin(batch.decoded.pixels, supervision.watching(batch.names))
        batch.decoded = None
        return begun

    for batch, embeddings in begun_ahead(batches, begin, 1):
        with batch.timed("encode"):
            error = batch.columns["error"]
            at = np.flatnonzero(error.is_null().to_numpy(zero_copy_only=False))
            column = embedding_column(embeddings(), at, len(error), storage)
            batch.columns["embedding"] = column
        yield batch
