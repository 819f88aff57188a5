"""Encoded images to model-ready tensors, with NVIDIA nvImageCodec, DALI and torch.

Legend: *N images handed in, M of them decoded, S pixels a side of the model's input*.

Bytes are sniffed, their header is weighed against `max_pixels`, and nvImageCodec decodes (a failure
costs one image, where DALI's own decoder loses the batch and the pipeline): in `decode_on_cpu` or
`decode_on_gpu`, which resize, measure and normalise as well. What is transparent, and what
nvImageCodec can't decode, Pillow does.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")

import numpy as np
import torch
from nvidia import nvimgcodec

from curator_assets.kernels.ahead import Running
from curator_assets.kernels.complete_files import is_complete
from curator_assets.kernels.decode_memory import DecodingMemory, decoding_bytes, most_bytes
from curator_assets.kernels.decode_on_cpu import CpuDecoder
from curator_assets.kernels.decode_with_pillow import (
    PillowError,
    PillowStream,
    TooManyPixelsError,
    open_stream,
)
from curator_assets.kernels.image_format import (
    PILLOWS,
    DecodeError,
    sniff_format,
    why_refused,
    why_undecodable,
)
from curator_assets.kernels.lane import lane_on
from curator_assets.kernels.pictures import Pictures, why_left_out
from curator_assets.kernels.resize import Preprocessing
from curator_assets.kernels.transparency import may_have_alpha
from curator_assets.kernels.variants import is_misread_by_nvimagecodec
from curator_assets.kernels.watching import ImageWatch, unwatched

if TYPE_CHECKING:
    from curator_assets.kernels.decode_on_gpu import GpuDecoder


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
        constant_rows_fraction: float32 [N], 0-1, share of rows at the bottom of the whole image
            each of which has one colour; NaN where failed.
        has_alpha: bool [N], some pixel is below opaque; False where failed.
        again_on_cpu: bool [N], images that the GPU's decoder gave up on and the CPU's decoded.
    """

    pixels: torch.Tensor
    ok: np.ndarray
    errors: list[DecodeError | None]
    width: np.ndarray
    height: np.ndarray
    format: list[str | None]
    mean_luminance: np.ndarray
    sharpness: np.ndarray
    constant_rows_fraction: np.ndarray
    has_alpha: np.ndarray
    again_on_cpu: np.ndarray


class ImageDecoder:
    """Decodes batches of encoded images; one bad image costs only itself.

    An image's pixels are bit-identical whatever its neighbours and its place in the batch. A
    decoder serves one thread; it may begin further batches before the first is asked for.

    Attributes:
        preprocessing: What the model wants.
        device: Where the pixels lie.
        batch_size: The most images a call may hand in.
        n_at_once: Images that a call had best hand in: a GPU works on many at a time, a thread on
            one.
        max_pixels: Images whose header announces more are refused.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        device: str,
        batch_size: int,
        max_pixels: int,
        max_decoding_bytes: int,
        n_threads: int,
    ) -> None:
        """Build the decoders and the pipeline.

        Args:
            preprocessing: What the model wants.
            device: `cpu`, `cuda` or `cuda:<index>`.
            batch_size: The most images a call may hand in.
            max_pixels: Images whose header announces more are refused undecoded.
            max_decoding_bytes: What all threads together take at most to decode and resize.
            n_threads: CPU threads for decoding and resizing.

        Raises:
            ValueError: `batch_size` or `n_threads` is below 1, or `max_decoding_bytes` below what
                an image of `max_pixels` may take.
        """
        if batch_size < 1 or n_threads < 1:
            raise ValueError(f"expected 1 or more: {batch_size=}, {n_threads=}")
        if max_decoding_bytes < most_bytes(max_pixels):
            raise ValueError(
                f"expected max_decoding_bytes of at least {most_bytes(max_pixels)}, which one "
                f"image of {max_pixels=} may take, got {max_decoding_bytes}"
            )
        memory = DecodingMemory(max_decoding_bytes)
        self.preprocessing = preprocessing
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.max_pixels = max_pixels
        self._decoder: CpuDecoder | GpuDecoder
        self.n_at_once = 1
        if self.device.type == "cuda":
            self.n_at_once = batch_size
            # here, since it imports DALI, which nothing needs on CPU
            from curator_assets.kernels import decode_on_gpu  # noqa: PLC0415

            self._decoder = decode_on_gpu.GpuDecoder(
                preprocessing,
                device=self.device,
                batch_size=batch_size,
                n_threads=n_threads,
                lane=lane_on(self.device),
                memory=memory,
            )
        else:
            self._decoder = CpuDecoder(preprocessing, n_threads=n_threads, memory=memory)

    def __call__(self, images: Sequence[bytes]) -> DecodedBatch:
        """Decode up to `batch_size` images.

        Raises:
            ValueError: More than `batch_size` images.
        """
        return self.begin(images)()

    def begin(
        self, images: Sequence[bytes], watch: ImageWatch = unwatched
    ) -> Running[DecodedBatch]:
        """Begin to decode up to `batch_size` images; the call of what is returned waits for them.

        Args:
            images: Encoded.
            watch: Told what native code works on.

        Raises:
            ValueError: More than `batch_size` images.
        """
        n = len(images)
        if n > self.batch_size:
            raise ValueError(f"images: expected at most batch_size={self.batch_size}, got {n}")
        formats = [sniff_format(data) for data in images]
        opened = []
        for row, (data, name) in enumerate(zip(images, formats, strict=True)):
            with watch([row]):
                opened.append(_tried(_open_stream, data, name, self.max_pixels))
        streams = {i: s for i, s in enumerate(opened) if not isinstance(s, DecodeError)}
        pictures = Pictures.empty(n, self.preprocessing.size, self.device)
        if not isinstance(self._decoder, CpuDecoder):
            whole_jpegs = {
                i for i in streams if formats[i] == "jpeg" and is_complete(images[i], "jpeg")
            }
            running = self._decoder.begin(streams, whole_jpegs, pictures, watch)
        else:
            running = self._decoder.begin(streams, pictures, watch)

        def decoded() -> DecodedBatch:
            running()
            errors = [
                _reason(data, name, stream, pictures, row)
                for row, (data, name, stream) in enumerate(
                    zip(images, formats, opened, strict=True)
                )
            ]
            return _batch(pictures, errors, formats)

        return Running(running.futures, decoded)


def _batch(
    pictures: Pictures, errors: list[DecodeError | None], formats: list[str | None]
) -> DecodedBatch:
    ok, pixels = np.flatnonzero(pictures.shapes[:, 0]), pictures.pixels
    if len(ok) < len(pixels):
        pixels = pixels[torch.from_numpy(ok).to(pixels.device)]
    return DecodedBatch(
        pixels=pixels,
        ok=ok,
        errors=errors,
        width=pictures.shapes[:, 1],
        height=pictures.shapes[:, 0],
        format=formats,
        mean_luminance=pictures.statistics[0],
        sharpness=pictures.statistics[1],
        constant_rows_fraction=pictures.statistics[2],
        has_alpha=pictures.has_alpha,
        again_on_cpu=pictures.again_on_cpu,
    )


def _open_stream(data: bytes, image_format: str | None, max_pixels: int) -> Any:
    """The parsed header as a stream of nvImageCodec's or Pillow's, or why there is none."""
    refused = why_refused(data, image_format)
    if refused is not None or image_format is None:
        return refused
    only_pillow = image_format in PILLOWS or is_misread_by_nvimagecodec(data, image_format)
    is_pillows = only_pillow or may_have_alpha(data, image_format)
    try:
        if not only_pillow:
            stream = nvimgcodec.CodeStream(data)
            width, height, n_bytes = stream.width, stream.height, decoding_bytes(stream)
            if min(width, height, n_bytes) < 1:  # nvImageCodec gives 2 ** 31 and more as negative
                return why_undecodable(data, image_format)
            if width * height > max_pixels or n_bytes > most_bytes(max_pixels):
                return DecodeError.TOO_MANY_PIXELS
            return PillowStream(data, width, height, opaque=stream) if is_pillows else stream
    except (RuntimeError, TypeError, ValueError):
        if not is_pillows:
            return why_undecodable(data, image_format)
    try:
        return open_stream(data, max_pixels=max_pixels)
    except TooManyPixelsError:
        return DecodeError.TOO_MANY_PIXELS
    except PillowError:
        return why_undecodable(data, image_format)


def _reason(
    data: bytes, image_format: str | None, opened: Any, pictures: Pictures, row: int
) -> DecodeError | None:
    if isinstance(opened, DecodeError):
        return opened
    if pictures.shapes[row, 0]:
        return None
    return pictures.failures.get(row) or _tried(why_undecodable, data, image_format or "")


def _tried(look: Callable[..., Any], data: bytes, *more: Any) -> Any:
    """What a look at one file finds; whatever that brings about, it costs this image alone."""
    try:
        return look(data, *more)
    except Exception as error:
        return why_left_out(error)
