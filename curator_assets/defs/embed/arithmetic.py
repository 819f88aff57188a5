"""The encoder's arithmetic: the kind of device, the precision, and the form of the tower.

One choice for all shards of a model, or neighbours would be embedded in different arithmetic. It is
made on the first images, once for each kind of device, then kept. On CPU a clock has a say in it:
from then on the record decides, also on a machine where another choice would be faster, so that no
result flips between machines. Another processor computes the same form to rounding, not bit by bit;
one that can't run it says so and embeds nothing.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from curator_assets.defs.embed.single_images import decode_watched, images_of, touched
from curator_assets.engine.partitioning import UndecidedError
from curator_assets.engine.work import Purpose, Work
from curator_assets.engine.workers.placing import on_one_device
from curator_assets.engine.workers.task import Supervision
from curator_assets.storage.ledger import Entry
from curator_assets.storage.versions import hash_of

if TYPE_CHECKING:
    from curator_assets.kernels.precision import PrecisionChoice

ARITHMETIC = "arithmetic"
"""The input of that name."""

RECORD = "encoder_precision"
"""The ledger entries of what was chosen, by kind of device."""

_MAX_SHARDS = 8
_PLAIN = "plain"  # that of `kernels.forms`, which imports torch


@dataclass(frozen=True)
class Arithmetic:
    """What embeddings are computed in, and why.

    Attributes:
        device: `cpu` or `cuda`.
        precision: `float32`, `bfloat16` or `float16`.
        form: how the tower is written down, one of `kernels.forms.FORMS`.
        lowest_cosine: candidate -> lowest cosine to plain float32 over the first images; empty if
            there was nothing to choose.
        core_ms: candidate -> core-milliseconds an image when it was chosen; CPU only.
    """

    device: str
    precision: str
    form: str = _PLAIN
    lowest_cosine: dict[str, float] = field(default_factory=dict)
    core_ms: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        form = "" if self.form == _PLAIN else f" {self.form}"
        return f"{self.device} {self.precision}{form}"


def arithmetic_in_force(work: Work, weights: str, before: Entry | None) -> str:
    """What a shard is to be embedded in on this machine.

    Args:
        work: settings, storage and encoder.
        weights: of the model.
        before: of the shard's embeddings.

    Raises:
        UndecidedError: it is chosen on the first images, which a plan does not read.
    """
    known = work.once((known_arithmetic, weights), lambda: known_arithmetic(work, weights))
    if known is not None:
        return str(known)
    certain = _key(work)  # whatever is chosen begins so
    if before is None or not str(before.inputs.get(ARITHMETIC)).startswith(certain):
        return f"{certain}, the rest of its arithmetic to be chosen"
    if work.purpose is Purpose.PLAN:
        raise UndecidedError("undecided: the arithmetic is chosen on the first images")
    return str(chosen_arithmetic(work, weights, work.shards))


def known_arithmetic(work: Work, weights: str) -> Arithmetic | None:
    """What the settings say, or what was chosen before on this kind of device."""
    setting, device = work.settings.model.precision, work.encoder.device_type()
    if setting != "auto" and device != "cpu":
        return Arithmetic(device, setting)
    entry = work.ledger.read(RECORD, _key(work))
    if entry is None or entry.fingerprint != hash_of(_inputs(work, weights)):
        return None
    state = entry.state
    form, core_ms = state.get("form", _PLAIN), state.get("core_ms", {})  # older ones have none
    return Arithmetic(device, entry.data_version, form, dict(state["lowest_cosine"]), dict(core_ms))


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
    choose = partial(_choose, shards=tuple(shards))
    trial = partial(touched, precision="float32", form=_PLAIN)
    *_, choice = on_one_device(choose, trial, work, shards)
    device = work.encoder.device_type()
    if choice.n_images:
        inputs = _inputs(work, weights)
        grounds = {"lowest_cosine": choice.lowest_cosine, "core_ms": choice.core_ms}
        state = grounds | {"form": choice.form, "n_images": choice.n_images}
        entry = Entry(hash_of(inputs), choice.precision, inputs=inputs, state=state)
        work.ledger.write(RECORD, _key(work), entry)
    arithmetic = Arithmetic(
        device, choice.precision, choice.form, choice.lowest_cosine, choice.core_ms
    )
    cosines = "".join(
        f"; {name} comes within cosine {cosine:.4f} of float32 on {choice.n_images} images"
        + (f" in {choice.core_ms[name]:.1f} core-ms an image" if name in choice.core_ms else "")
        for name, cosine in choice.lowest_cosine.items()
    )
    work.log.info("arithmetic: %s%s", arithmetic, cosines)
    return arithmetic


def _choose(
    work: Work, _: Iterator[str], supervision: Supervision, *, shards: Sequence[str]
) -> Generator["PrecisionChoice", None, None]:
    from curator_assets.kernels.precision import choose_precision

    decoder, model = work.encoder.load("float32", _PLAIN)
    images = images_of(work.tars, shards[:_MAX_SHARDS], supervision)
    decoded = decode_watched(list(islice(images, decoder.batch_size)), decoder, supervision)
    yield choose_precision(model, decoded.pixels, work.settings.model.precision)


def _inputs(work: Work, weights: str) -> dict[str, Any]:
    inputs = {"model": work.settings.model.name, "weights": weights}
    if work.settings.model.execution == "compiled" and work.encoder.device_type() == "cpu":
        inputs["execution"] = "compiled"  # another form is no candidate then
    return inputs


def _key(work: Work) -> str:
    """Of the ledger's entry: a precision that the settings say has a choice of form of its own."""
    setting, device = work.settings.model.precision, work.encoder.device_type()
    return device if setting == "auto" else f"{device} {setting}"
