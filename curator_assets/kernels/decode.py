"""Encoded images to model-ready tensors, with NVIDIA nvImageCodec, DALI and torch.

Legend: *N images handed in, M of them decoded, S pixels a side of the model's input*.

Bytes are sniffed, their header is weighed against `max_pixels`, nvImageCodec decodes (a failure
costs one image, where DALI's own decoder loses the batch and the pipeline), `resize` makes the
square. On CPU each thread takes one image from bytes to square, so that few whole images are held
at a time; on GPU a batch goes through at once and no whole image leaves the device.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")

import numpy as np
import torch
from nvidia import nvimgcodec

from curator_assets.kernels.image_format import (
    DecodeError,
    sniff_format,
    why_refused,
    why_undecodable,
)
from curator_assets.kernels.resize import DaliResize, Preprocessing, TorchResize

_GPU_GROUP_PIXELS = 1 << 28
"""Images are decoded together up to so many pixels, 0.8 GB."""

_LUMA = (299.0, 587.0, 114.0)  # Rec.601, in thousandths, so that sums are exact whole numbers


@dataclass(frozen=True)
class DecodedBatch:
    """What one call of `ImageDecoder` made of N encoded images.

    Luminance and sharpness are measured on the S x S uint8 picture that the model is shown, before
    normalisation, so that they compare across images of any size.

    Attributes:
        pixels: float32 [M, 3, S, S] on the decoder's device, normalised.
        ok: int64 [M], ascending, the inputs that `pixels` shows.
        errors: N reasons, None where decoded.
        width: int32 [N], after EXIF orientation; 0 where failed.
        height: int32 [N], likewise.
        format: N names by first bytes (`jpeg`, `png`, ...), also of failed images; None if unknown.
        mean_luminance: float32 [N], 0-1, Rec.601 luma; NaN where failed.
        sharpness: float32 [N], variance of the 4-neighbour Laplacian of luma on the 0-255 scale;
            NaN where failed.
    """

    pixels: torch.Tensor
    ok: np.ndarray
    errors: list[DecodeError | None]
    width: np.ndarray
    height: np.ndarray
    format: list[str | None]
    mean_luminance: np.ndarray
    sharpness: np.ndarray


class ImageDecoder:
    """Decodes batches of encoded images; one bad image costs only itself.

    An image's pixels are bit-identical whatever its neighbours and its place in the batch. (On GPU
    the fixed-function JPEG engine is left out for that: it takes a share of each batch only.)
    Calls must not overlap: one decoder serves one thread.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        device: str,
        batch_size: int,
        max_pixels: int,
        n_threads: int,
    ) -> None:
        """Build the decoders and the pipeline.

        Args:
            preprocessing: What the model wants.
            device: `cpu`, `cuda` or `cuda:<index>`.
            batch_size: The most images a call may hand in.
            max_pixels: Images whose header announces more are refused undecoded.
            n_threads: CPU threads for decoding and resizing.

        Raises:
            ValueError: `batch_size` or `n_threads` is below 1.
        """
        if batch_size < 1 or n_threads < 1:
            raise ValueError(f"expected 1 or more: {batch_size=}, {n_threads=}")
        self.preprocessing = preprocessing
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.max_pixels = max_pixels
        device_id = (self.device.index or 0) if self.device.type == "cuda" else None
        self._decoders = _decoders(device_id, n_threads)
        self._params = nvimgcodec.DecodeParams(True, nvimgcodec.ColorSpec.SRGB)
        self._threads = ThreadPoolExecutor(
            len(self._decoders), "decode", initializer=torch.set_num_threads, initargs=(1,)
        )
        self._torch_resize = TorchResize(preprocessing)
        self._dali_resize: DaliResize | None = None
        if device_id is not None:
            self._dali_resize = DaliResize(
                preprocessing, device_id=device_id, batch_size=batch_size, n_threads=n_threads
            )
        scale = 1 / (255 * torch.tensor(preprocessing.std, dtype=torch.float64))
        shift = -torch.tensor(preprocessing.mean, dtype=torch.float64) * 255 * scale
        self._scale = scale.float().view(3, 1, 1).to(self.device)
        self._shift = shift.float().view(3, 1, 1).to(self.device)

    def __call__(self, images: Sequence[bytes]) -> DecodedBatch:
        """Decode up to `batch_size` images.

        Raises:
            ValueError: More than `batch_size` images.
        """
        n = len(images)
        if n > self.batch_size:
            raise ValueError(f"images: expected at most batch_size={self.batch_size}, got {n}")
        formats = [sniff_format(data) for data in images]
        opened = [
            _open_stream(data, name, self.max_pixels)
            for data, name in zip(images, formats, strict=True)
        ]
        resize = self._dali_resize
        shown = self._on_gpu(opened, resize) if resize else self._on_cpu(opened)
        ok = np.flatnonzero(shown.shapes[:, 0])
        errors = [
            _reason(data, name, stream, decoded=bool(shape[0]))
            for data, name, stream, shape in zip(images, formats, opened, shown.shapes, strict=True)
        ]
        pixels = shown.pixels
        if len(ok) < len(pixels):
            pixels = pixels[torch.from_numpy(ok)]
        return DecodedBatch(
            pixels=pixels,
            ok=ok,
            errors=errors,
            width=shown.shapes[:, 1],
            height=shown.shapes[:, 0],
            format=formats,
            mean_luminance=shown.mean_luminance,
            sharpness=shown.sharpness,
        )

    def _on_cpu(self, opened: list[Any]) -> "_Shown":
        shown = _Shown.empty(len(opened), self.preprocessing.size, self.device)
        todo = [i for i, stream in enumerate(opened) if not isinstance(stream, DecodeError)]

        def show(share: int) -> None:
            for i in todo[share :: len(self._decoders)]:
                (image,) = self._decoders[share].decode([opened[i]], params=self._params)
                if image is not None:
                    array = np.asarray(image)
                    shown.shapes[i] = array.shape[:2]
                    shown.pixels[i] = self._torch_resize(array)
                    self._finish(shown, [i], shown.pixels[i : i + 1])

        list(self._threads.map(show, range(len(self._decoders))))
        return shown

    def _on_gpu(self, opened: list[Any], resize: DaliResize) -> "_Shown":
        shown = _Shown.empty(len(opened), self.preprocessing.size, self.device)
        todo = [i for i, stream in enumerate(opened) if not isinstance(stream, DecodeError)]
        ends = np.cumsum([opened[i].height * opened[i].width for i in todo]) // _GPU_GROUP_PIXELS
        starts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(todo)]
        for start, end in pairwise(starts):
            group = todo[start:end]
            images = self._decoders[0].decode([opened[i] for i in group], params=self._params)
            torch.cuda.synchronize(self.device)
            decoded = [(i, image) for i, image in zip(group, images, strict=True) if image]
            if decoded:
                rows = [i for i, _ in decoded]
                shown.shapes[rows] = [image.shape[:2] for _, image in decoded]
                pixels = resize([image for _, image in decoded]).float()
                self._finish(shown, rows, pixels)
                shown.pixels[rows] = pixels
        return shown

    def _finish(self, shown: "_Shown", rows: list[int], pixels: torch.Tensor) -> None:
        """Measure pixels that are whole numbers 0-255, then normalise them in place."""
        shown.mean_luminance[rows], shown.sharpness[rows] = _statistics(pixels)
        pixels.mul_(self._scale).add_(self._shift)


@dataclass(frozen=True)
class _Shown:
    """What a batch of N streams shows, row by row; a shape of 0 x 0 where decoding failed.

    Attributes:
        pixels: float32 [N, 3, S, S], normalised; undefined where decoding failed.
        shapes: int32 [N, 2], height and width.
        mean_luminance: float32 [N], NaN where decoding failed.
        sharpness: float32 [N], likewise.
    """

    pixels: torch.Tensor
    shapes: np.ndarray
    mean_luminance: np.ndarray
    sharpness: np.ndarray

    @classmethod
    def empty(cls, n: int, side: int, device: torch.device) -> "_Shown":
        nan = np.full((2, n), np.nan, dtype=np.float32)
        pixels = torch.empty((n, 3, side, side), device=device)
        return cls(pixels, np.zeros((n, 2), dtype=np.int32), *nan)


def _decoders(device_id: int | None, n_threads: int) -> list[Any]:
    kinds = nvimgcodec.BackendKind
    if device_id is not None:
        allowed = (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU, kinds.CPU_ONLY)
        backends = [nvimgcodec.Backend(kind) for kind in allowed]
        return [nvimgcodec.Decoder(device_id, n_threads, backends)]
    # One single-threaded decoder a thread: nvImageCodec caps its own threads at the cores less one,
    # and a decoder shared between threads deadlocks.
    backends = [nvimgcodec.Backend(kinds.CPU_ONLY)]
    cpu = nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY
    return [nvimgcodec.Decoder(cpu, 1, backends) for _ in range(n_threads)]


def _open_stream(data: bytes, image_format: str | None, max_pixels: int) -> Any:
    """The parsed header as an nvImageCodec stream, or the `DecodeError` that rules it out."""
    refused = why_refused(data, image_format)
    if refused is not None:
        return refused
    try:
        stream = nvimgcodec.CodeStream(data)
        too_large = stream.width * stream.height > max_pixels
    except (RuntimeError, TypeError, ValueError):
        return why_undecodable(data, image_format)
    return DecodeError.TOO_MANY_PIXELS if too_large else stream


def _reason(
    data: bytes, image_format: str | None, opened: Any, *, decoded: bool
) -> DecodeError | None:
    if isinstance(opened, DecodeError):
        return opened
    return None if decoded else why_undecodable(data, image_format)


def _statistics(pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean luminance 0-1 and sharpness, float32 [M] each.

    Args:
        pixels: float32 [M, 3, S, S], whole numbers 0-255.
    """
    luma = pixels.permute(0, 2, 3, 1) @ pixels.new_tensor(_LUMA)
    laplacian = torch.add(luma[:, :-2, 1:-1], luma[:, 2:, 1:-1])
    laplacian.add_(luma[:, 1:-1, :-2]).add_(luma[:, 1:-1, 2:])
    laplacian.sub_(luma[:, 1:-1, 1:-1], alpha=4)
    mean = luma.mean(dim=(1, 2)) / 255_000
    centre = laplacian.mean(dim=(1, 2)).double()
    norm = torch.linalg.vector_norm(laplacian, dim=(1, 2)).double()
    variance = (norm.square() / laplacian[0].numel() - centre.square()) / 1e6
    return mean.cpu().numpy(), variance.clamp_min(0).float().cpu().numpy()
