"""Altered copies of images of the user's own, and how near they come to their originals."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from curator_assets.engine.partitioning import ALL
from curator_assets.engine.stage import Advanced
from curator_assets.engine.work import Work
from curator_assets.engine.workers.task import Supervision
from curator_assets.storage import calibration
from curator_assets.storage.calibration import ChosenImage
from curator_assets.storage.shards.tars import content_hash
from curator_assets.storage.tables import schemas

_ORIGINAL = "original"


def planted_cosines(
    work: Work,
    _: Iterator[str],
    supervision: Supervision,
    *,
    chosen: Mapping[str, Sequence[ChosenImage]],
    precision: str,
    form: str,
) -> Generator[Advanced | pa.Table, None, None]:
    """How far it is, and at the end the cosine of each copy to its original, all embedded anew.

    Left out is what Pillow can't open. Runs in a worker.

    Args:
        work: settings and storage.
        supervision: says which images are not to be touched, and is told of those that are.
        chosen: images of each shard.
        precision: that the stored embeddings were computed in.
        form: likewise.

    Yields:
        `Advanced`, then a table of schema `CALIBRATION_COSINES`.
    """
    decoder, model = work.encoder.load(precision, form)
    originals, rows = dict[str, np.ndarray](), list[dict[str, Any]]()
    items = _encoded(work, supervision, chosen)
    while batch := list(islice(items, decoder.batch_size)):
        names = [name for _, name, _, _ in batch]
        decoded = decoder.begin([data for *_, data in batch], supervision.watching(names))()
        watch = supervision.watching([names[i] for i in decoded.ok])
        embeddings = model.begin(decoded.pixels, watch)()
        for i, embedding in zip(decoded.ok, embeddings, strict=True):
            image_id, _, transform, _ = batch[i]
            if transform == _ORIGINAL:
                originals = {image_id: embedding}  # its copies come next
            elif image_id in originals:
                cosine = min(float(originals[image_id] @ embedding), 1.0)
                rows.append({"transform": transform, "image_id": image_id, "cosine": cosine})
        yield Advanced(ALL, len(batch))
    yield pa.Table.from_pylist(rows, schema=schemas.CALIBRATION_COSINES)


def _encoded(
    work: Work, supervision: Supervision, chosen: Mapping[str, Sequence[ChosenImage]]
) -> Iterator[tuple[str, str, str, bytes]]:
    """Image id, hash of the original, transform and bytes: each original, then its copies."""
    from curator_assets.kernels.augment import augmented_copies

    max_pixels = work.settings.decode.max_pixels
    for shard, images in chosen.items():
        for image_id, data in calibration.read_chosen(work.tars, work.store, shard, images):
            name = content_hash(data)
            if not supervision.may_be_touched(name):
                continue
            with supervision.watch([name]):
                copies = augmented_copies(data, max_pixels=max_pixels)
            if copies:
                yield image_id, name, _ORIGINAL, data
            for transform, copy in (copies or {}).items():
                yield image_id, name, transform, copy
