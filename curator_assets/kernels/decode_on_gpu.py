"""Decoding on a GPU: in a lane and a thread of its own, beside the encoder's.

Whole JPEG files are decoded, resized and measured on the device. All others, and those that the
device's decoder gives up on (for want of memory, say), are decoded as on CPU, so that what is read
and what is refused does not depend on the device.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from nvidia import nvimgcodec

from curator_assets.kernels.ahead import Running
from curator_assets.kernels.constant_rows import constant_rows_fractions
from curator_assets.kernels.decode_memory import DecodingMemory, decoding_bytes
from curator_assets.kernels.decode_on_cpu import CpuDecoder
from curator_assets.kernels.lane import Lane, Mark
from curator_assets.kernels.pictures import Normalise, Pictures
from curator_assets.kernels.resize import Preprocessing
from curator_assets.kernels.resize_with_dali import DaliResize
from curator_assets.kernels.statistics import measure
from curator_assets.kernels.watching import ImageWatch

_GROUP_PIXELS = 1 << 28
"""Images are decoded together up to so many pixels, 0.8 GB."""

_LIKE_LIBJPEG = ":fancy_upsampling=1"
"""Chroma is interpolated, as libjpeg-turbo does on CPU and nvJPEG only when it is told to."""

_log = logging.getLogger(__name__)


class GpuDecoder:
    """Decodes, resizes and measures with nvImageCodec, DALI and torch.

    The fixed-function JPEG engine is left out: it takes a share of each batch only, so an image's
    pixels would depend on its neighbours.

    Args:
        preprocessing: what the model wants.
        device: of the pictures.
        batch_size: the most images a call may hand in.
        n_threads: CPU threads.
        lane: on the device, in which all of it is done.
        memory: that decoding and resizing take, here or on the device.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        device: torch.device,
        batch_size: int,
        n_threads: int,
        lane: Lane,
        memory: DecodingMemory,
    ) -> None:
        self._device, self._lane, self._memory = device, lane, memory
        self._side = preprocessing.size
        self._cpu = CpuDecoder(preprocessing, n_threads=n_threads, memory=memory)
        self._codec = _codec(device, n_threads)
        self._params = nvimgcodec.DecodeParams(True, nvimgcodec.ColorSpec.SRGB)
        self._resize = DaliResize(
            preprocessing,
            device_id=_device_id(device),
            batch_size=batch_size,
            n_threads=n_threads,
        )
        self._normalise = Normalise(preprocessing, device)
        self._lane.follow(self._lane.mark_caller())
        self._thread = ThreadPoolExecutor(1, "decode")  # nvImageCodec and DALI wait for the device

    def begin(
        self,
        streams: Mapping[int, Any],
        whole_jpegs: set[int],
        pictures: Pictures,
        watch: ImageWatch,
    ) -> Running[None]:
        """Begin to decode; the call of what is returned ends when it is done.

        Args:
            streams: row -> nvImageCodec's stream or Pillow's.
            whole_jpegs: rows that the device's decoder is trusted with.
            pictures: on the device, whose rows are filled in.
            watch: told what native code works on.
        """
        others = {row: stream for row, stream in streams.items() if row not in whole_jpegs}
        there = Pictures.empty(len(pictures.shapes), self._side, torch.device("cpu"))
        running_others = self._cpu.begin(others, there, watch)
        made = self._lane.mark_caller()
        trusted = {row: streams[row] for row in sorted(whole_jpegs)}
        running = [
            self._thread.submit(self._show, rows, n_bytes, streams, pictures, made, watch)
            for rows, n_bytes in _groups(trusted, self._memory.max_bytes)
        ]

        def finish() -> None:
            given_up = dict[int, Any]()
            for group in running:
                given_up |= {row: streams[row] for row in group.result()}
            running_others()
            self._cpu.begin(given_up, there, watch)()
            self._take(there, pictures, given_up)

        return Running([*running, *running_others.futures], finish)

    def _show(
        self,
        rows: list[int],
        n_bytes: int,
        streams: Mapping[int, Any],
        pictures: Pictures,
        made: Mark,
        watch: ImageWatch,
    ) -> list[int]:
        """Fill in rows, which take so many bytes, of pictures that are there from a mark on.

        Returns:
            The rows given up.
        """
        with self._memory.hold(n_bytes), watch(rows):
            try:
                return self._shown(rows, streams, pictures, made)
            except Exception as error:  # of one image, or for want of the device's memory
                _log.warning("%d images are decoded on CPU: %s", len(rows), error, exc_info=True)
                pictures.shapes[rows] = 0
                return rows

    def _shown(
        self, rows: list[int], streams: Mapping[int, Any], pictures: Pictures, made: Mark
    ) -> list[int]:
        self._lane.follow(made)
        self._lane.use(pictures.pixels)
        with self._lane.work():
            images = self._decode([streams[row] for row in rows])
            found = list(zip(rows, images, strict=True))
            decoded = [(row, image) for row, image in found if image is not None]
            given_up = [row for row, image in found if image is None]
            if not decoded:
                return given_up
            done = [row for row, _ in decoded]
            shown, sampled = self._resize([image for _, image in decoded], self._lane)
            pixels, constant = shown.float(), constant_rows_fractions(sampled)
            measured = torch.vstack([measure(pixels), constant]).to("cpu", non_blocking=True)
            self._normalise(pixels)
            pictures.pixels[torch.tensor(done).to(self._device, non_blocking=True)] = pixels
            mark = self._lane.mark()
        pictures.shapes[done] = [image.shape[:2] for _, image in decoded]
        mark.wait()
        pictures.statistics[:, done] = measured.numpy()
        return given_up

    def _decode(self, streams: list[Any]) -> list[Any]:
        """An image on the device for each stream, None where the device's decoder gave up."""
        handle = self._lane.handle
        try:
            return list(self._codec.decode(streams, params=self._params, cuda_stream=handle))
        except (RuntimeError, MemoryError) as error:
            _log.warning("%d images are decoded on CPU instead: %s", len(streams), error)
            return [None] * len(streams)

    def _take(self, there: Pictures, pictures: Pictures, given_up: Mapping[int, Any]) -> None:
        """Bring what was decoded on CPU to the device, not in the lane: it has the next batch."""
        pictures.failures.update(there.failures)
        rows = np.flatnonzero(there.shapes[:, 0])
        if not len(rows):
            return
        at = torch.from_numpy(rows)
        pictures.pixels[at.to(self._device)] = there.pixels[at].to(self._device)
        pictures.shapes[rows] = there.shapes[rows]
        pictures.statistics[:, rows] = there.statistics[:, rows]
        pictures.has_alpha[rows] = there.has_alpha[rows]
        pictures.again_on_cpu[rows] = np.isin(rows, list(given_up))


def _codec(device: torch.device, n_threads: int) -> Any:
    kinds = nvimgcodec.BackendKind
    if device.type == "cpu":
        backends = [nvimgcodec.Backend(kinds.CPU_ONLY)]
        on_cpu = nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY
        return nvimgcodec.Decoder(on_cpu, n_threads, backends, _LIKE_LIBJPEG)
    backends = [nvimgcodec.Backend(kind) for kind in (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)]
    return nvimgcodec.Decoder(_device_id(device), n_threads, backends, _LIKE_LIBJPEG)


def _device_id(device: torch.device) -> int | None:
    return (device.index or 0) if device.type == "cuda" else None


def _groups(streams: Mapping[int, Any], max_bytes: int) -> Iterator[tuple[list[int], int]]:
    """The rows in groups of up to `_GROUP_PIXELS` and so many bytes, or of one image; its bytes."""
    group, n_pixels, n_bytes = list[int](), 0, 0
    for row, stream in streams.items():
        more_pixels, more_bytes = stream.height * stream.width, decoding_bytes(stream)
        if group and (n_pixels + more_pixels > _GROUP_PIXELS or n_bytes + more_bytes > max_bytes):
            yield group, n_bytes
            group, n_pixels, n_bytes = [], 0, 0
        group.append(row)
        n_pixels += more_pixels
        n_bytes += more_bytes
    if group:
        yield group, n_bytes
