"""The encoder's arithmetic: the kind of device, and the precision that the settings leave open.

One choice for all shards of a model, or neighbours would be embedded in different arithmetic. It is
made on the first images, once for each kind of device, then kept.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from curator_assets.defs.embed.single_images import decode_watched, images_of, touched
from curator_assets.engine.partitioning import UndecidedError
from curator_assets.engine.work import Purpose, Work
from curator_assets.engine.workers.supervision import supervised
from curator_assets.engine.workers.task import Supervision
from curator_assets.storage.ledger import Entry, hash_of

if TYPE_CHECKING:
    from curator_assets.kernels.precision import PrecisionChoice

ARITHMETIC = "arithmetic"
"""The input of that name."""

RECORD = "encoder_precision"
"""The ledger entries of what was chosen, by kind of device."""

_MAX_SHARDS = 8


@dataclass(frozen=True)
class Arithmetic:
    """What embeddings are computed in, and why.

    Attributes:
        device: `cpu` or `cuda`.
        precision: `float32`, `bfloat16` or `float16`.
        lowest_cosine: candidate -> lowest cosine to float32 over the first images; empty if the
            settings say the precision.
    """

    device: str
    precision: str
    lowest_cosine: dict[str, float]

    def __str__(self) -> str:
        return f"{self.device} {self.precision}"


def arithmetic_in_force(work: Work, weights: str, before: Entry | None) -> str:
    """What a shard is to be embedded in on this machine.

    Args:
        work: settings, storage and encoder.
        weights: of the model.
        before: of the shard's embeddings.

    Raises:
        UndecidedError: it is chosen on the first images, which a plan does not read.
    """
    known = known_arithmetic(work, weights)
    if known is not None:
        return str(known)
    device = work.encoder.device_type()
    was_there = before is not None and str(before.inputs.get(ARITHMETIC)).startswith(device)
    if not was_there:
        return f"{device}, its precision to be chosen"
    if work.purpose is Purpose.PLAN:
        raise UndecidedError("undecided: the precision is chosen on the first images")
    return str(chosen_arithmetic(work, weights, work.shards))


def known_arithmetic(work: Work, weights: str) -> Arithmetic | None:
    """What the settings say, or what was chosen before on this kind of device."""
    setting, device = work.settings.model.precision, work.encoder.device_type()
    if setting != "auto":
        return Arithmetic(device, setting, {})
    entry = work.ledger.read(RECORD, device)
    if entry is None or entry.fingerprint != hash_of(_inputs(work, weights)):
        return None
    return Arithmetic(device, entry.data_version, dict(entry.state["lowest_cosine"]))


def chosen_arithmetic(work: Work, weights: str, shards: Sequence[str]) -> Arithmetic:
    """What is known, or a new choice, made in a worker.

    Args:
        work: settings, storage and encoder.
        weights: of the model.
        shards: whose first images decide, if there is no choice yet.
    """
    known = known_arithmetic(work, weights)
    if known is not None:
        return known
    choose, trial = partial(_choose, shards=tuple(shards)), partial(touched, precision="float32")
    devices = work.encoder.devices()[:1]
    *_, choice = supervised(choose, trial, work, shards, devices)
    device = work.encoder.device_type()
    if choice.n_images:
        inputs = _inputs(work, weights)
        state = {"lowest_cosine": choice.lowest_cosine, "n_images": choice.n_images}
        entry = Entry(hash_of(inputs), choice.precision, inputs=inputs, state=state)
        work.ledger.write(RECORD, device, entry)
    cosines = "".join(
        f"; {precision} comes within cosine {cosine:.4f} of float32 on {choice.n_images} images"
        for precision, cosine in choice.lowest_cosine.items()
    )
    work.log.info("precision: %s on %s%s", choice.precision, device, cosines)
    return Arithmetic(device, choice.precision, choice.lowest_cosine)


def _choose(
    work: Work, _: Iterator[str], supervision: Supervision, *, shards: Sequence[str]
) -> Generator["PrecisionChoice", None, None]:
    from curator_assets.kernels.precision import choose_precision

    decoder, model = work.encoder.load("float32")
    images = images_of(work.tars, shards[:_MAX_SHARDS], supervision)
    decoded = decode_watched(list(islice(images, decoder.batch_size)), decoder, supervision)
    yield choose_precision(model, decoded.pixels)


def _inputs(work: Work, weights: str) -> dict[str, Any]:
    return {"model": work.settings.model.name, "weights": weights}
