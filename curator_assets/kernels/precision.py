"""Which arithmetic the encoder may use: the fastest of the device that moves no embedding much.

On a GPU the choice is by what the device can do and by what it does to the first images. On CPU the
same form is twice as fast on one maker's processor and slower on another's, so there a clock has a
say as well; what it said is kept by the caller, so that it is asked once.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from curator_assets.kernels.encode import DTYPES, EncoderModel
from curator_assets.kernels.forms import FOLDED, ONEDNN, PLAIN, is_form_supported

MIN_COSINE = {"bfloat16": 0.999, "float16": 0.999, "float32": 0.9999}
"""To the embedding in plain float32, of each image."""

N_IMAGES = 32
_log = logging.getLogger(__name__)
_TIE = 1.1
"""The clock's noise: within it the candidate that comes first is taken."""
_N_ROUNDS = 2


@dataclass(frozen=True)
class PrecisionChoice:
    """What was chosen, and on what grounds.

    Attributes:
        precision: `float32`, `bfloat16` or `float16`.
        form: one of `FORMS`.
        lowest_cosine: candidate, as `arithmetic_name` names it -> lowest cosine to the embedding of
            the same image in plain float32.
        core_ms: candidate that is near enough -> core-milliseconds an image; empty where no clock
            was asked.
        n_images: how many images it was measured on.
    """

    precision: str
    form: str
    lowest_cosine: dict[str, float]
    core_ms: dict[str, float] = field(default_factory=dict)
    n_images: int = 0


def arithmetic_name(precision: str, form: str) -> str:
    """What changes an embedding's bits, in words: `float32`, `float32 onednn`."""
    return precision if form == PLAIN else f"{precision} {form}"


def candidates(device: torch.device) -> list[str]:
    """Types in which this device multiplies matrices faster than in float32, fastest first."""
    if device.type == "cuda":
        ampere = torch.cuda.get_device_capability(device) >= (8, 0)
        return ["bfloat16", "float16"] if ampere else ["float16"]
    by_support = {
        "bfloat16": torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()),
        "float16": torch.ops.mkldnn._is_mkldnn_fp16_supported(),
    }
    return [name for name, supported in by_support.items() if supported]


def rewritten_form(model: EncoderModel, precision: str) -> str | None:
    """The form besides the plain one that may be faster; None if there is none.

    Folding alone where oneDNN is missing: with it, oneDNN's form was never slower than folding.
    """
    if model.device.type != "cpu" or model.execution == "compiled":
        return None
    if is_form_supported(ONEDNN, DTYPES[precision]):
        return ONEDNN
    norms = (isinstance(part, torch.nn.BatchNorm2d) for part in model.visual.modules())
    return FOLDED if any(norms) else None


def choose_precision(model: EncoderModel, pixels: torch.Tensor, setting: str) -> PrecisionChoice:
    """The fastest candidate whose embeddings of some images all stay within `MIN_COSINE`.

    On CPU one is refused as well if an embedding depends on its place in the batch.

    Args:
        model: in plain float32.
        pixels: float32 [N, 3, S, S], normalised; the first `N_IMAGES` are used.
        setting: `auto`, or the precision to stay with; its plain form is then good enough.
    """
    pixels = pixels[:N_IMAGES]
    if model.device.type == "cuda" or not len(pixels):
        return _first_within(model, pixels, setting)
    default = "float32" if setting == "auto" else setting
    lower = candidates(model.device) if setting == "auto" else []
    reference = model.encode(pixels)
    cosines, core_ms, fit = dict[str, float](), dict[str, float](), dict[str, tuple[str, str]]()
    for precision in (default, *lower):
        for form in filter(None, (PLAIN, rewritten_form(model, precision))):
            name = arithmetic_name(precision, form)
            is_default = (precision, form) == (default, PLAIN)
            is_reference = (precision, form) == ("float32", PLAIN)
            try:
                trial = model if is_reference else model.recast(precision, form)
                embeddings = reference if is_reference else trial.encode(pixels)
                lowest = float(np.minimum(1.0, (reference * embeddings).sum(axis=1).min()))
                cosines[name] = lowest
                if not is_default and not lowest >= min(MIN_COSINE[precision], cosines[default]):
                    break  # its other form rounds as much
                core_ms[name] = _core_ms(trial, pixels)
                turned = trial.encode(pixels.flip(0))[::-1]
            except Exception as error:  # whatever a rewritten network brings about
                if is_default:
                    raise
                _log.warning("%s is no choice for this model: %s", name, error)
                continue
            if is_default or (embeddings == turned).all():
                fit[name] = precision, form
    limit = _TIE * min(core_ms[name] for name in fit)
    precision, form = next(fit[name] for name in fit if core_ms[name] <= limit)
    return PrecisionChoice(precision, form, cosines, core_ms, len(reference))


def _first_within(model: EncoderModel, pixels: torch.Tensor, setting: str) -> PrecisionChoice:
    """The first candidate within the bound, by no clock."""
    if setting != "auto":
        return PrecisionChoice(setting, PLAIN, {}, n_images=len(pixels))
    reference, lowest = model.encode(pixels), dict[str, float]()
    for candidate in candidates(model.device) if len(pixels) else ():
        embeddings = model.recast(candidate, PLAIN).encode(pixels)
        lowest[candidate] = float((reference * embeddings).sum(axis=1).min())
        if lowest[candidate] >= MIN_COSINE[candidate]:
            return PrecisionChoice(candidate, PLAIN, lowest, n_images=len(pixels))
    return PrecisionChoice("float32", PLAIN, lowest, n_images=len(pixels))


def _core_ms(model: EncoderModel, pixels: torch.Tensor) -> float:
    """Core-milliseconds an image that is computed, at best, by a model that is warm.

    Of this process, not by the wall clock: what else the machine does changes it little.
    """
    best = float("inf")
    for _ in range(_N_ROUNDS):
        started, n_before = time.process_time(), model.n_computed
        model.encode(pixels)
        seconds = time.process_time() - started
        best = min(best, seconds / (model.n_computed - n_before))
    return 1000 * best
