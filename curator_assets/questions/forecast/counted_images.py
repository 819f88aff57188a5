"""How many images a refresh will embed, told by reading and hashing their tars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

import numpy as np

from curator_assets.engine.progress import Progress
from curator_assets.engine.work import Work
from curator_assets.errors import DamagedFileError
from curator_assets.questions.forecast.expected_images import ExpectedImages
from curator_assets.questions.forecast.ranges import Range
from curator_assets.storage import layout
from curator_assets.storage.shards.tars import BrokenTarError, TarContent
from curator_assets.storage.tables.parquet import read_table

Known = Callable[[Sequence[str]], np.ndarray]
"""Content hashes of images -> bool [N]: their embeddings are stored, and need not be computed."""

_N_TOLD_AT_ONCE = 100


def counted_images(
    shards: Collection[str],
    as_embedded: Collection[str],
    work: Work,
    known: Known | None,
) -> ExpectedImages:
    """What the tars of some shards hold, and how much of it is embedded already.

    What can't be decoded is not known before it is tried, and counts as an image. An image that
    occurs more than once is computed once.

    Args:
        shards: that are to be embedded.
        as_embedded: those of them that were embedded from the very tar that lies there now, and
            whose tables are in place: these are asked instead.
        work: whose tars are read, and whose watch is told how far it is.
        known: tells what is stored; None if nothing is.
    """
    sizes = {shard: work.n_bytes.get(shard, 0) for shard in shards}
    hashes, unread = list[str](), dict[str, str]()
    weights = {shard: float(size) or 1.0 for shard, size in sizes.items()}
    with Progress("tars", "images", weights, work.log, work.watch) as progress:
        for shard in shards:
            try:
                hashes += _hashes(shard, work, progress, is_as_embedded=shard in as_embedded)
            except (BrokenTarError, OSError) as error:
                unread[shard] = str(error)
            progress.finish(shard)
    return _counted(hashes, sizes, unread, known)


def _counted(
    hashes: list[str], sizes: Mapping[str, int], unread: Mapping[str, str], known: Known | None
) -> ExpectedImages:
    distinct = list(dict.fromkeys(hashes))
    n_known = 0 if known is None else int(np.count_nonzero(known(distinct)))
    n_encoded = len(distinct) - n_known
    return ExpectedImages(
        n_images=Range.of(len(hashes)),
        n_encoded=Range.of(n_encoded),
        n_reused=Range.of(len(hashes) - n_encoded),
        n_bytes=sum(sizes.values()),
        unread=unread,
    )


def _hashes(shard: str, work: Work, progress: Progress, *, is_as_embedded: bool) -> list[str]:
    """The content hashes of the images of a tar, from where they are had at the least cost."""
    if is_as_embedded:
        with suppress(DamagedFileError):
            return _stored_hashes(shard, work)
    return _read_hashes(shard, work, progress)


def _stored_hashes(shard: str, work: Work) -> list[str]:
    """The content hashes of the images of a shard, as they were when it was embedded.

    Raises:
        DamagedFileError: its table can't be read.
    """
    table = read_table(work.store, layout.embeddings(shard), ["content_hash"])
    return list(table["content_hash"].drop_null().to_pylist())


def _read_hashes(shard: str, work: Work, progress: Progress) -> list[str]:
    """The content hashes of the images of a tar."""
    hashes, n_bytes, n_told = list[str](), 0, 0
    with work.tars.open(shard) as file:
        for sample in TarContent(shard).samples(file):
            if sample.image is None or sample.image.data is None:
                continue
            hashes.append(sample.image.content_hash)
            n_bytes += sample.image.n_bytes
            if len(hashes) - n_told == _N_TOLD_AT_ONCE:
                progress.advance(shard, _N_TOLD_AT_ONCE, n_bytes)
                n_bytes, n_told = 0, len(hashes)
    progress.advance(shard, len(hashes) - n_told, n_bytes)
    return hashes
