"""Images by themselves, for what is decided on a few of them: the arithmetic, and what kills."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from curator_assets.engine.work import Work
from curator_assets.engine.workers.task import Supervision
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import BrokenTarError, Member, TarContent

if TYPE_CHECKING:
    from curator_assets.kernels.decode import DecodedBatch, ImageDecoder

_N_TRIALS = 20
"""A file that reads what another one left behind crashes now and then: 4 of 8 times in three."""


def images_of(tars: Source, shards: Iterable[str], supervision: Supervision) -> Iterator[Member]:
    """The image of each sample of some shards, as far as it may be touched.

    What can't be read is left out: embedding it meets the same error, and reports it.
    """
    for shard in shards:
        try:
            with tars.open(shard) as file:
                for sample in TarContent(shard).samples(file):
                    image = sample.image
                    if image is None or image.data is None:
                        continue
                    if supervision.may_be_touched(image.content_hash):
                        yield image
        except (BrokenTarError, OSError):
            continue


def touched(
    work: Work, shards: Iterator[str], supervision: Supervision, *, precision: str, form: str
) -> Generator[Any, None, None]:
    """Nothing; the suspects are decoded and encoded as they are for their rows.

    Before them the decoder reads ordinary images, as it does in the midst of its work: what goes
    wrong in native code may rest on what was left in memory.
    """
    decoder, model = work.encoder.load(precision, form)
    left, ordinary = set(supervision.suspects or ()), [ordinary_image()] * decoder.batch_size
    images = images_of(work.tars, shards, supervision)
    while left and (batch := list(islice(images, min(decoder.batch_size, len(left))))):
        for _ in range(_N_TRIALS):
            decoder(ordinary)
            decoded = decode_watched(batch, decoder, supervision)
        names = [batch[row].content_hash for row in decoded.ok]
        model.begin(decoded.pixels, supervision.watching(names))()
        left -= {image.content_hash for image in batch}
    yield from ()


def ordinary_image() -> bytes:
    """A JPEG file of 64 x 64 pixels."""
    ramp = np.arange(64, dtype=np.uint8) * 4
    pixels = np.stack(np.broadcast_arrays(ramp, ramp[:, None], ramp[::-1]), axis=2)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def decode_watched(
    images: Sequence[Member], decoder: "ImageDecoder", supervision: Supervision
) -> "DecodedBatch":
    """Images as `ImageDecoder` decodes them, while somebody watches."""
    names = [image.content_hash for image in images]
    data = [image.data for image in images if image.data is not None]
    return decoder.begin(data, supervision.watching(names))()
