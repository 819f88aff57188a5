"""How many images a refresh will embed, told by reading and hashing their tars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice

import numpy as np

from curator_assets.engine.progress import Progress
from curator_assets.engine.work import Work
from curator_assets.questions.forecast.expected_images import ExpectedImages
from curator_assets.questions.forecast.ranges import Range
from curator_assets.storage.shards.tars import BrokenTarError, TarContent

Known = Callable[[Sequence[str]], np.ndarray]
"""Content hashes of images -> bool [N]: their embeddings are stored, and need not be computed."""

_N_TOLD_AT_ONCE, _N_ASKED_AT_ONCE = 100, 1 << 20


def counted_images(shards: Collection[str], work: Work, known: Known | None) -> ExpectedImages:
    """What the tars of some shards hold, and how much of it is embedded already.

    What can't be decoded is not known before it is tried, and counts as an image. An image that
    occurs more than once counts as computed once; with several GPUs, one that tars share may be
    computed by each of their workers.

    Args:
        shards: that are to be embedded.
        work: whose tars are read, and whose watch is told how far it is.
        known: tells what is stored; None if nothing is.
    """
    sizes = {shard: work.n_bytes.get(shard, 0) for shard in shards}
    distinct, n_images, unread = set[bytes](), 0, dict[str, str]()
    weights = {shard: float(size) or 1.0 for shard, size in sizes.items()}
    with Progress("tars", "images", weights, work.log, work.watch) as progress:
        for shard in shards:
            try:
                digests = _digests(shard, work, progress)
            except (BrokenTarError, OSError) as error:
                unread[shard] = str(error)
            else:
                distinct.update(digests)
                n_images += len(digests)
            progress.finish(shard)
    n_encoded = len(distinct) - (_n_known(distinct, known) if known else 0)
    return ExpectedImages(
        n_images=Range.of(n_images),
        n_encoded=Range.of(n_encoded),
        n_reused=Range.of(n_images - n_encoded),
        n_bytes=sum(sizes.values()),
        unread=unread,
    )


def _n_known(digests: Collection[bytes], known: Known) -> int:
    left, n_known = iter(digests), 0
    while block := [digest.hex() for digest in islice(left, _N_ASKED_AT_ONCE)]:
        n_known += int(np.count_nonzero(known(block)))
    return n_known


def _digests(shard: str, work: Work, progress: Progress) -> list[bytes]:
    """The content hashes of the images of a tar, of 16 bytes each."""
    digests, n_bytes, n_told = list[bytes](), 0, 0
    with work.tars.open(shard) as file:
        for sample in TarContent(shard).samples(file):
            if sample.image is None or sample.image.data is None:
                continue
            digests.append(bytes.fromhex(sample.image.content_hash))
            n_bytes += sample.image.n_bytes
            if len(digests) - n_told == _N_TOLD_AT_ONCE:
                progress.advance(shard, _N_TOLD_AT_ONCE, n_bytes)
                n_bytes, n_told = 0, len(digests)
    progress.advance(shard, len(digests) - n_told, n_bytes)
    return digests
