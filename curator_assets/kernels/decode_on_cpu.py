"""Decoding on CPU: each thread takes one image from bytes to square, so few whole ones are held."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from nvidia import nvimgcodec

from curator_assets.kernels.ahead import Running
from curator_assets.kernels.constant_rows import constant_rows_fraction
from curator_assets.kernels.decode_memory import DecodingMemory, decoding_bytes
from curator_assets.kernels.decode_with_pillow import PillowStream
from curator_assets.kernels.pictures import Normalise, Pictures, why_left_out
from curator_assets.kernels.resize import Preprocessing, TorchResize
from curator_assets.kernels.statistics import measure
from curator_assets.kernels.watching import ImageWatch


class CpuDecoder:
    """Decodes, resizes and measures with nvImageCodec's CPU decoders, Pillow and torch.

    Args:
        preprocessing: what the model wants.
        n_threads: images at a time.
        memory: that decoding and resizing take.
    """

    def __init__(
        self, preprocessing: Preprocessing, *, n_threads: int, memory: DecodingMemory
    ) -> None:
        self._params = nvimgcodec.DecodeParams(True, nvimgcodec.ColorSpec.SRGB)
        self._resize = TorchResize(preprocessing)
        self._normalise = Normalise(preprocessing, torch.device("cpu"))
        self._n_threads, self._memory = n_threads, memory
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(n_threads, "decode", self._begin_thread)

    def begin(
        self, streams: Mapping[int, Any], pictures: Pictures, watch: ImageWatch
    ) -> Running[None]:
        """Begin to decode; the call of what is returned ends when it is done.

        Args:
            streams: row -> nvImageCodec's stream or Pillow's.
            pictures: on CPU, whose rows are filled in.
            watch: told what native code works on.
        """
        rows = list(streams)

        def show(share: int) -> None:
            for row in rows[share :: self._n_threads]:
                stream = streams[row]
                needed = decoding_bytes(stream) + self._resize.n_bytes(stream.height, stream.width)
                with self._memory.hold(needed), watch([row]):
                    self._try_to_show(row, stream, pictures)

        n_shares = min(self._n_threads, len(rows))
        running = [self._threads.submit(show, share) for share in range(n_shares)]

        def finish() -> None:
            for share in running:
                share.result()

        return Running(running, finish)

    def _begin_thread(self) -> None:
        """One single-threaded decoder a thread.

        nvImageCodec caps its own threads at the cores less one, and a decoder shared between
        threads deadlocks.
        """
        torch.set_num_threads(1)
        backends = [nvimgcodec.Backend(nvimgcodec.BackendKind.CPU_ONLY)]
        self._own.decoder = nvimgcodec.Decoder(nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY, 1, backends)

    def _try_to_show(self, row: int, stream: Any, pictures: Pictures) -> None:
        """Fill in a row; whatever one image brings about, the others are shown."""
        try:
            self._show(row, stream, pictures)
        except Exception as error:
            pictures.shapes[row], pictures.has_alpha[row] = 0, False
            pictures.statistics[:, row] = np.nan
            pictures.failures[row] = why_left_out(error)

    def _show(self, row: int, stream: Any, pictures: Pictures) -> None:
        decoded = self._decode(stream)
        if decoded is None:
            return
        array, pictures.has_alpha[row] = decoded
        shown = pictures.pixels[row : row + 1]
        shown[0] = self._resize(array)
        pictures.shapes[row] = array.shape[:2]
        pictures.statistics[:2, row] = measure(shown)[:, 0].numpy()
        pictures.statistics[2, row] = constant_rows_fraction(array)
        self._normalise(shown)

    def _decode(self, stream: Any) -> tuple[np.ndarray, bool] | None:
        """Upright uint8 [height, width, 3] and whether it has transparency; None if it failed."""
        if isinstance(stream, PillowStream):
            if (found := stream.decode()) is not None or stream.opaque is None:
                return found
            stream = stream.opaque
        (image,) = self._own.decoder.decode([stream], params=self._params)
        return None if image is None else (np.asarray(image), False)
