"""Encoded images to model-ready tensors, with NVIDIA nvImageCodec and DALI.

Legend: *N images handed in, M of them decoded, S pixels a side of the model's input*.

Bytes are sniffed, their header is weighed against `max_pixels`, nvImageCodec decodes (a failure
costs one image, where DALI's own decoder loses the batch and the pipeline), and a DALI pipeline
resizes, computing the S x S crop alone. CPU and GPU run the same graph with other arguments.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")

import numpy as np
import torch
from nvidia import nvimgcodec
from nvidia.dali import fn, pipeline_def, types
from torch.utils.dlpack import from_dlpack

from curator_assets.kernels.image_format import (
    DecodeError,
    sniff_format,
    why_refused,
    why_undecodable,
)

_LUMA = (299.0, 587.0, 114.0)  # Rec.601, in thousandths, so that sums are exact whole numbers


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its images, in open_clip's terms.

    Attributes:
        size: Side S of the square input, in pixels.
        mean: Per channel RGB, on the 0-1 scale.
        std: Per channel RGB, on the 0-1 scale.
        interpolation: `bicubic` or `bilinear`; both antialiased.
        resize_mode: `shortest` (short side to S, centre crop), `longest` (long side to S, pad) or
            `squash` (both sides to S).
        fill_color: Gray level 0-255 of the padding of `longest`.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str
    fill_color: int

    def __post_init__(self) -> None:
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ValueError(f"expected 'bicubic' or 'bilinear', got {self.interpolation=}")
        if self.resize_mode not in ("shortest", "longest", "squash"):
            raise ValueError(f"expected 'shortest', 'longest' or 'squash', got {self.resize_mode=}")


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
        self._threads = ThreadPoolExecutor(len(self._decoders))
        self._resize = _resize_pipeline(preprocessing, device_id, batch_size, n_threads)
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
        decoded = self._decode(opened)
        errors = [_reason(*case) for case in zip(images, formats, opened, decoded, strict=True)]
        ok = np.flatnonzero([image is not None for image in decoded])
        shapes = np.array([(0, 0) if image is None else image.shape[:2] for image in decoded])
        height, width = shapes.reshape(n, 2).T.astype(np.int32)
        mean_luminance, sharpness = np.full((2, n), np.nan, dtype=np.float32)
        pixels = self._resized([image for image in decoded if image is not None])
        if len(ok):
            mean_luminance[ok], sharpness[ok] = _statistics(pixels)
        pixels.mul_(self._scale).add_(self._shift)
        return DecodedBatch(pixels, ok, errors, width, height, formats, mean_luminance, sharpness)

    def _decode(self, opened: list[Any]) -> list[Any]:
        """uint8 [height, width, 3] for each stream that decodes, else None."""
        on_gpu = self.device.type == "cuda"
        images: list[Any] = [None] * len(opened)
        todo = [i for i, stream in enumerate(opened) if not isinstance(stream, DecodeError)]

        def decode(share: int) -> None:
            mine = todo[share :: len(self._decoders)]
            if mine:
                streams = [opened[i] for i in mine]
                results = self._decoders[share].decode(streams, params=self._params)
                for i, image in zip(mine, results, strict=True):
                    images[i] = image if image is None or on_gpu else np.asarray(image)

        list(self._threads.map(decode, range(len(self._decoders))))
        if on_gpu:
            torch.cuda.synchronize(self.device)
        return images

    def _resized(self, images: list[Any]) -> torch.Tensor:
        """float32 [M, 3, S, S] in whole numbers 0-255: the model's input before normalisation."""
        size = self.preprocessing.size
        pixels = torch.empty((len(images), 3, size, size), device=self.device)
        if images:
            windows = [_window(image.shape, self.preprocessing) for image in images]
            self._resize.feed_input("images", images)
            self._resize.feed_input("start", [window[0] for window in windows])
            self._resize.feed_input("end", [window[1] for window in windows])
            self._resize.feed_input("size", [window[2] for window in windows])
            (resized,) = self._resize.run()
            pixels.copy_(from_dlpack(resized.as_tensor()).permute(0, 3, 1, 2))
        return pixels


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


def _resize_pipeline(
    preprocessing: Preprocessing, device_id: int | None, batch_size: int, n_threads: int
) -> Any:
    device = "cpu" if device_id is None else "gpu"
    side = preprocessing.size
    filters = {"bicubic": types.INTERP_CUBIC, "bilinear": types.INTERP_TRIANGULAR}

    @pipeline_def(prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
    def graph() -> Any:
        resized = fn.resize(
            fn.external_source(name="images", device=device, layout="HWC", no_copy=True),
            size=fn.external_source(name="size"),
            roi_start=fn.external_source(name="start"),
            roi_end=fn.external_source(name="end"),
            antialias=True,
            interp_type=filters[preprocessing.interpolation],
            dtype=types.UINT8,
        )
        if preprocessing.resize_mode != "longest":
            return resized
        return fn.crop(
            resized,
            crop=(side, side),
            out_of_bounds_policy="pad",
            fill_values=preprocessing.fill_color,
            rounding="truncate",
        )

    pipeline = graph(batch_size=batch_size, num_threads=n_threads, device_id=device_id)
    pipeline.build()
    return pipeline


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


def _reason(data: bytes, image_format: str | None, opened: Any, image: Any) -> DecodeError | None:
    if isinstance(opened, DecodeError):
        return opened
    return why_undecodable(data, image_format) if image is None else None


def _window(shape: tuple[int, int, int], preprocessing: Preprocessing) -> np.ndarray:
    """Part of an image to resize and to what, as open_clip's resize and centre crop would.

    Returns:
        float32 [3, 2]: start, end (source pixels, half-open) and size; each vertical, horizontal.
    """
    height, width, _ = shape
    side = preprocessing.size
    size = (side, side)
    top, left, full_height, full_width = 0, 0, side, side
    if preprocessing.resize_mode == "longest":
        ratio = max(height, width) / side
        full_height, full_width = max(1, round(height / ratio)), max(1, round(width / ratio))
        size = (full_height, full_width)
    elif preprocessing.resize_mode == "shortest":
        short = min(height, width)
        full_height, full_width = side * height // short, side * width // short
        top, left = round((full_height - side) / 2), round((full_width - side) / 2)
    y, x = height / full_height, width / full_width
    end = ((top + size[0]) * y, (left + size[1]) * x)
    return np.array([(top * y, left * x), end, size], dtype=np.float32)


def _statistics(pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean luminance 0-1 and sharpness, float32 [M] each.

    Args:
        pixels: float32 [M, 3, S, S], whole numbers 0-255.
    """
    luma = torch.mul(pixels[:, 0], _LUMA[0])
    luma.add_(pixels[:, 1], alpha=_LUMA[1]).add_(pixels[:, 2], alpha=_LUMA[2])
    laplacian = torch.add(luma[:, :-2, 1:-1], luma[:, 2:, 1:-1])
    laplacian.add_(luma[:, 1:-1, :-2]).add_(luma[:, 1:-1, 2:])
    laplacian.sub_(luma[:, 1:-1, 1:-1], alpha=4)
    mean = luma.mean(dim=(1, 2), dtype=torch.float64) / 255_000
    centre = laplacian.mean(dim=(1, 2), dtype=torch.float64)
    norm = torch.linalg.vector_norm(laplacian, dim=(1, 2), dtype=torch.float64)
    variance = (norm.square() / laplacian[0].numel() - centre.square()) / 1e6
    return mean.float().cpu().numpy(), variance.clamp_min(0).float().cpu().numpy()
