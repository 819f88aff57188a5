"""How many images a refresh will embed, told by the sizes of their tars and by the ledger alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from curator_assets.questions.forecast.ranges import Range
from curator_assets.questions.forecast.stored_embeddings import EmbeddedTar, StoredEmbeddings
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import BrokenTarError, TarContent

OF_THE_SAME = Range(0.0, 1.0, likely=1.0)
"""The share of the images that is copied of a tar of the name and the size of one that was
embedded, or of the very size of one that is gone: most likely it is that tar."""

OF_CHANGED = Range(0.5, 1.0)
"""Of what was embedded of a tar of the same name and another size: most likely it was added to."""

OF_NEW = Range(0.0, 0.05)
"""Of tars that seem new, though no tar is gone."""

TARS_VARY = {False: 0.25, True: 0.05}
"""By what fraction the images of a tar may be off those of others of its size, though these agree;
by whether `N_FOR_VARYING` are known."""

N_FOR_VARYING = 5

N_TARS_LOOKED_AT, N_SAMPLES_LOOKED_AT, N_BYTES_LOOKED_AT = 4, 100, 8_000_000
"""Where nothing is known yet: of so many tars, samples up to a number or so many bytes."""


@dataclass(frozen=True)
class ExpectedImages:
    """The images of the tars that are read to be embedded.

    Attributes:
        n_images: of them, without those that can't be read as far as that is known.
        n_encoded: of these, that go through the encoder.
        n_reused: of these, whose embeddings are copied.
        n_bytes: of the tars.
        unread: tar that can't be read -> why; its images are not counted.
    """

    n_images: Range
    n_encoded: Range
    n_reused: Range
    n_bytes: int
    unread: Mapping[str, str]


def images_per_byte(stored: StoredEmbeddings) -> Range | None:
    """How many images a byte of a tar is, by all tars that were embedded; None if none was."""
    known = [*stored.there.values(), *stored.gone]
    found = [one.n_images / one.n_bytes for one in known if one.n_images]
    return Range.spread(found, TARS_VARY[len(found) >= N_FOR_VARYING]) if found else None


def looked_at_images_per_byte(tars: Source, shards: Sequence[str]) -> Range | None:
    """The same by the first samples of a few of some tars; None if none of them can be read."""
    step = max(1, len(shards) // N_TARS_LOOKED_AT)
    looked = (_first_images(tars, shard) for shard in shards[::step][:N_TARS_LOOKED_AT])
    found = [n_images / n_bytes for n_images, n_bytes in looked if n_images]
    return Range.spread(found, TARS_VARY[False]) if found else None


def _first_images(tars: Source, shard: str) -> tuple[int, int]:
    """How many of a tar's first samples have an image, and the bytes that they take."""
    n_images, n_bytes = 0, 0
    try:
        with tars.open(shard) as file:
            for i, sample in enumerate(TarContent(shard).samples(file), 1):
                n_images, n_bytes = n_images + (sample.image is not None), file.tell()
                if i == N_SAMPLES_LOOKED_AT or n_bytes >= N_BYTES_LOOKED_AT:
                    break
    except (BrokenTarError, OSError):  # a refresh tells of it
        return 0, 0
    return n_images, n_bytes


def expected_images(
    shards: Collection[str], n_bytes: Mapping[str, int], stored: StoredEmbeddings, per_byte: Range
) -> ExpectedImages:
    """What the tars of some shards hold, and how much of it is embedded already.

    Args:
        shards: that are to be embedded.
        n_bytes: shard -> size of its tar.
        stored: what is embedded.
        per_byte: images a byte of a tar.
    """
    gone = defaultdict[int, list[EmbeddedTar]](list)
    for one in stored.gone:
        gone[one.n_bytes] += [one] if one.is_usable else []
    parts, new = list[_Part](), Range.of(0)
    for shard in shards:
        size = n_bytes.get(shard, 0)
        n, before = Range.of(size) * per_byte, stored.there.get(shard)
        if before and before.n_bytes == size:  # touched, or to be embedded in another way
            share = OF_THE_SAME if before.is_usable else Range.of(0)
            parts.append(_Part(Range.of(before.n_images), share))
        elif before and before.is_usable:
            parts.append(_Part(n, OF_CHANGED, before.n_images))
        elif gone[size]:
            parts.append(_Part(Range.of(gone[size].pop().n_images), OF_THE_SAME))
        else:
            new += n
    # where other tars are gone, these may hold their images under new names
    n_gone = sum(one.n_images for of_a_size in gone.values() for one in of_a_size)
    most = max(OF_NEW.high, min(1.0, n_gone / max(new.high, 1)))
    of_new = Range(OF_NEW.low, most, OF_NEW.expected) if stored.are_usable else Range.of(0)
    parts.append(_Part(new, of_new))
    return ExpectedImages(
        n_images=_whole(Range.sum(part.n for part in parts)),
        n_encoded=_whole(Range.sum(part.encoded for part in parts)),
        n_reused=_whole(Range.sum(part.reused for part in parts)),
        n_bytes=sum(n_bytes.get(shard, 0) for shard in shards),
        unread={},
    )


class _Part(NamedTuple):
    """Some of the images, and the share of them, or of so many of them, that is copied."""

    n: Range
    share: Range
    of: float = math.inf

    @property
    def reused(self) -> Range:
        low, high, likely = (min(n, self.of) for n in (self.n.low, self.n.high, self.n.expected))
        return Range(low, high, likely) * self.share

    @property
    def encoded(self) -> Range:
        low, high = (min(n, self.of) for n in (self.n.low, self.n.high))
        return Range(
            self.n.low - low * self.share.high,
            self.n.high - high * self.share.low,
            self.n.expected - self.reused.expected,
        )


def _whole(n: Range) -> Range:
    return Range(round(n.low), round(n.high), round(n.expected))
