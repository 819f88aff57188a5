"""The encoder's arithmetic where the settings leave it open: chosen once, then kept.

One choice for all shards of a model, or neighbours would be embedded in different arithmetic.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from curator_assets.defs.stage import Work
from curator_assets.storage.ledger import Entry, hash_of
from curator_assets.storage.tars import BrokenTarError, TarContent

if TYPE_CHECKING:
    from curator_assets.kernels.precision import PrecisionChoice

ASSET = "encoder_precision"
_MAX_SHARDS = 8


def chosen_precision(work: Work, shards: list[str]) -> "PrecisionChoice":
    """What the settings say, or what was chosen before on this kind of device, or a new choice.

    Args:
        work: settings, storage and encoder.
        shards: whose first images decide, if there is no choice yet.
    """
    from curator_assets.kernels.precision import PrecisionChoice, choose_precision

    setting = work.settings.model.precision
    if setting != "auto":
        return PrecisionChoice(setting, {}, 0)
    device = work.encoder.device_type()
    inputs = {"model": work.settings.model.name, "weights": work.encoder.weights_identity()}
    before = work.ledger.read(ASSET, device)
    if before and before.fingerprint == hash_of(inputs):
        return PrecisionChoice(
            before.data_version, before.state["lowest_cosine"], before.state["n_images"]
        )
    decoder, model = work.encoder.load("float32")
    images = list(islice(_first_images(work, shards), decoder.batch_size))
    choice = choose_precision(model, decoder(images).pixels)
    if choice.n_images:
        state = {"lowest_cosine": choice.lowest_cosine, "n_images": choice.n_images}
        entry = Entry(hash_of(inputs), choice.precision, inputs=inputs, state=state)
        work.ledger.write(ASSET, device, entry)
    work.log.info(
        "precision: %s on %s; lowest cosine to float32 over %d images: %s",
        choice.precision,
        device,
        choice.n_images,
        choice.lowest_cosine,
    )
    return choice


def _first_images(work: Work, shards: list[str]) -> Iterator[bytes]:
    for shard in shards[:_MAX_SHARDS]:
        try:
            with work.storage.tars.open(shard) as file:
                for sample in TarContent(shard).samples(file, images_only=True):
                    if sample.image:
                        yield sample.image.data
        except (BrokenTarError, OSError):
            continue  # embedding it meets the same error, and reports it
