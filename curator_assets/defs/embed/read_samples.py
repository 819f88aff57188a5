"""The samples of shards as they are read, and what their images are to become."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice

from curator_assets.defs.embed.image_rows import ImageRow
from curator_assets.engine.stage import Failed
from curator_assets.errors import UserError
from curator_assets.masking import masked_error
from curator_assets.storage.retries import pause_before_retry
from curator_assets.storage.shards.source import Signature, Source
from curator_assets.storage.shards.tars import (
    BrokenTarError,
    RepeatedKeyError,
    Sample,
    TarContent,
)

UNIQUE_IDS = "unique_ids"
"""The check that a tar with two samples of one key fails."""

PART_BYTES = 24 << 20
"""Of image files that are handed on together, or one."""

_PART_SAMPLES = 512


@dataclass(frozen=True)
class Begun:
    """A shard begins."""

    shard: str


@dataclass(frozen=True)
class Ended:
    """A shard was read to its end, as it was when it had this signature."""

    content: TarContent
    signature: Signature


@dataclass
class Part:
    """Some samples of one shard or of several, in the order of the tars.

    Attributes:
        items: samples between the marks of their shards.
        rows: of each sample, in order.
        firsts: the samples that were the first with their row, by their number.
        to_decode: rows that wait for their image to be decoded, and its bytes.
    """

    items: list[Sample | Begun | Ended | Failed]
    rows: list[ImageRow] = field(default_factory=list)
    firsts: set[int] = field(default_factory=set)
    to_decode: list[tuple[ImageRow, bytes]] = field(default_factory=list)


def read_parts(shards: Iterable[str], tars: Source, log: logging.Logger) -> Iterator[Part]:
    """The samples of shards in parts of some hundreds, or of some megabytes."""
    part, n_bytes = Part([]), 0
    for item in _read(shards, tars, log):
        part.items.append(item)
        if isinstance(item, Sample) and item.image and item.image.data is not None:
            n_bytes += len(item.image.data)
        if n_bytes >= PART_BYTES or len(part.items) == _PART_SAMPLES:
            yield part
            part, n_bytes = Part([]), 0
    yield part


def _read(
    shards: Iterable[str], tars: Source, log: logging.Logger
) -> Iterator[Sample | Begun | Ended | Failed]:
    for shard in shards:
        yield Begun(shard)
        try:
            yield from _read_shard(shard, tars, log)
        except RepeatedKeyError as error:
            yield Failed(shard, str(error), check=UNIQUE_IDS)
        except UserError:  # of what all of them need
            raise
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
            with tars.open(shard, signature.size) as file:
                for sample in islice(content.samples(file), n_given, None):
                    n_given += 1
                    yield sample
            is_same = tars.signature(shard) == signature
        except OSError as error:
            if not pause_before_retry(error, attempt, f"shard {shard!r}", log):
                raise
            continue
        yield Ended(content, signature) if is_same else written_to(shard)
        return


def written_to(shard: str) -> Failed:
    """What is said of a shard whose tar changed under the reader's hands."""
    return Failed(shard, f"shard {shard!r} was written to while it was read; run it again")
