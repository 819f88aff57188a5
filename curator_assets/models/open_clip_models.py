"""Image encoders: any open_clip model's visual tower, with weights from wherever they lie."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import download_pretrained_from_hf

from curator_assets.errors import UserError, did_you_mean
from curator_assets.kernels.encode import DTYPES, EncoderModel, place_encoder
from curator_assets.kernels.forms import FORMS, PLAIN
from curator_assets.kernels.forward import EXECUTIONS
from curator_assets.kernels.resize import Preprocessing
from curator_assets.models import hub, offline_model
from curator_assets.models.hashes import Hashes
from curator_assets.models.identity import CONFIG, HF_HUB, LOCAL_DIR, files_identity, model_files
from curator_assets.models.offline_folder import write_open_clip_folder


class ModelUnavailableError(UserError):
    """A model's weights could not be had; the message names the ways out."""


def load_model(
    name: str,
    pretrained: str,
    *,
    device: str,
    precision: str,
    form: str = PLAIN,
    batch_size: int | None,
    n_threads: int,
    execution: str = "eager",
    hashes: Hashes | None = None,
) -> EncoderModel:
    """The image encoder of an open_clip model, with pretrained weights or not at all.

    Args:
        name: An open_clip model name, `hf-hub:<org>/<repo>`, `local-dir:<folder>`, or
            `efficientnet_lite0`.
        pretrained: A tag, or the path of a checkpoint (`.pt`, `.safetensors`); `imagenet` for
            `efficientnet_lite0`; ignored by the `hf-hub:` and `local-dir:` names. A path brings
            weights only: preprocessing and activation are the model name's own (OpenAI's weights
            need a name that ends in `-quickgelu`).
        device: `cpu`, `cuda` or `cuda:<index>`.
        precision: `float32`, `bfloat16` or `float16`.
        form: One of `FORMS`.
        batch_size: Images a forward pass; None for what suits the device.
        n_threads: Forward passes at a time on CPU.
        execution: One of `EXECUTIONS`.
        hashes: Of files read before.

    Raises:
        ValueError: Unknown `precision` or `form`, `batch_size` below 1, or a model without square
            input.
        ModelUnavailableError: Unknown model or tag, or weights that cannot be read or fetched.
        UnsupportedFormError: This machine can't run the form.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision: expected one of {sorted(DTYPES)}, got {precision!r}")
    if form not in FORMS:
        raise ValueError(f"form: expected one of {FORMS}, got {form!r}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    if execution not in EXECUTIONS:
        raise ValueError(f"execution: expected one of {EXECUTIONS}, got {execution!r}")
    try:
        model, weights = _load(name, pretrained, hashes or Hashes())
    except Exception as error:  # open_clip, hub and torch raise whatever they meet
        raise ModelUnavailableError(_ways_out(name, pretrained, error)) from error
    return place_encoder(
        model.visual,
        _preprocessing(model.visual.preprocess_cfg),
        weights,
        device=device,
        precision=precision,
        form=form,
        batch_size=batch_size,
        n_threads=n_threads,
        execution=execution,
    )


def _load(name: str, pretrained: str, hashes: Hashes) -> tuple[Any, str]:
    """An open_clip model with weights, and their identity as `weights_identity` tells it."""
    if (name, pretrained) == (offline_model.NAME, offline_model.PRETRAINED):
        checkpoint = offline_model.installed_checkpoint()
        with tempfile.TemporaryDirectory() as folder:
            write_open_clip_folder(Path(folder), checkpoint, hashes)
            return _create(f"{LOCAL_DIR}{folder}", None), hashes.of(checkpoint)
    if name.startswith(LOCAL_DIR):
        model = _create(name, None)
        return model, files_identity(model_files(Path(name.removeprefix(LOCAL_DIR))), hashes)
    if name.startswith(HF_HUB):
        model = _create(name, None)
        return model, files_identity(_hub_files(name.removeprefix(HF_HUB)), hashes)
    if Path(pretrained).is_file():
        path = Path(pretrained).absolute()  # or a file that is named like a tag is not loaded
        return _create(name, str(path)), hashes.of(path)
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        is_known = name in open_clip.list_models()
        raise LookupError("no such tag or file" if is_known else "no such model")
    model = _create(name, pretrained)
    with hub.offline():
        return model, hashes.of(Path(open_clip.download_pretrained(tag)))


def _hub_files(repository: str) -> list[Path]:
    """The files that were loaded, in the hub's cache."""
    with hub.offline():
        config = download_pretrained_from_hf(repository, filename=CONFIG)
        return [Path(config), Path(download_pretrained_from_hf(repository))]


def _create(name: str, pretrained: str | None) -> Any:
    tag = open_clip.get_pretrained_cfg(name, pretrained) if pretrained else {}
    is_from_hub = bool(tag) or name.startswith(HF_HUB)
    with hub.offline_if_unreachable() as is_offline, _silent_root():
        try:
            return open_clip.create_model_from_pretrained(
                name,
                pretrained,
                return_transform=False,
                force_quick_gelu=tag.get("quick_gelu", False),
            )
        except Exception as error:
            if is_offline and is_from_hub:
                raise ConnectionError(
                    "they are not in the hub's cache, and the hub can't be reached from here"
                ) from error
            raise


@contextmanager
def _silent_root() -> Iterator[None]:
    """What open_clip logs on the root logger is what it raises as well."""
    root = logging.getLogger()

    def nothing(_: logging.LogRecord) -> bool:
        return False

    root.addFilter(nothing)
    try:
        yield
    finally:
        root.removeFilter(nothing)


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise ValueError(f"model input: expected a square, got {height} x {width} pixels")
    return Preprocessing(
        size=height,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        resize_mode=config["resize_mode"],
        fill_color=config["fill_color"],
    )


def _ways_out(name: str, pretrained: str, error: Exception) -> str:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tags and not isinstance(error, LookupError):
        near = ""
    elif tags:
        near = did_you_mean(pretrained, tags) or f"; its tags are {', '.join(tags)}."
    elif name == offline_model.NAME:
        near = did_you_mean(pretrained, [offline_model.PRETRAINED])
    else:
        near = did_you_mean(name, [*open_clip.list_models(), offline_model.NAME])
    reason = " ".join(str(error).split())
    return (
        f"model {name!r} with pretrained weights {pretrained!r} can't be loaded "
        f"({type(error).__name__}: {reason}){near or '.'} Weights may also be the path of a "
        "checkpoint (.pt or .safetensors), the model a folder ('local-dir:<folder>' with "
        f"open_clip_config.json and weights); without a network there is {offline_model.NAME!r} "
        f"with weights {offline_model.PRETRAINED!r}, after {offline_model.INSTALL_COMMAND}"
    )
