"""Decoded images to the model's square input by DALI: on the device, and the S x S crop alone.

Legend: *M images, S pixels a side of the model's input*; R, C as in `constant_rows`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import feed_ndarray

from curator_assets.kernels.constant_rows import N_COLUMNS, N_ROWS
from curator_assets.kernels.lane import Lane
from curator_assets.kernels.resize import Preprocessing, window


class DaliResize:
    """Resizes a batch with DALI.

    Args:
        preprocessing: what the model wants.
        device_id: of the GPU; None for the same graph on CPU.
        batch_size: the most images a call may hand in.
        n_threads: CPU threads.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        device_id: int | None,
        batch_size: int,
        n_threads: int,
    ) -> None:
        self._preprocessing = preprocessing
        self._device = torch.device("cpu" if device_id is None else f"cuda:{device_id}")
        self._pipeline = _pipeline(preprocessing, device_id, batch_size, n_threads)

    def __call__(self, images: Sequence[Any], lane: Lane) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's input before normalisation, and a grid of pixels, as a lane's next work.

        Args:
            images: M >= 1 of shape [height, width, 3] on the device, made in `lane`; they are
                copied, so that DALI's own stream waits for them.
            lane: in which torch works at the moment.

        Returns:
            uint8 [M, 3, S, S] and [M, R, C, 3] (see `constant_rows`) on the device.
        """
        windows = np.stack([window(image.shape, self._preprocessing) for image in images])
        windows = windows.astype(np.float32)  # DALI takes no others: .002 of a JPEG's last pixel
        stream = lane.handle or None
        self._pipeline.feed_input("images", images, cuda_stream=stream, use_copy_kernel=True)
        for place, name in enumerate(("start", "end", "size")):
            self._pipeline.feed_input(name, np.ascontiguousarray(windows[:, place]))
        shown, sampled = (self._copy(made, stream) for made in self._pipeline.run(stream))
        return shown.permute(0, 3, 1, 2), sampled

    def _copy(self, made: Any, stream: int | None) -> torch.Tensor:
        """A copy: to share DALI's memory makes it wait for the whole device when that is let go."""
        tensor = made.as_tensor()
        copy = torch.empty(tensor.shape(), dtype=torch.uint8, device=self._device)
        feed_ndarray(tensor, copy, cuda_stream=stream)
        return copy


def _pipeline(
    preprocessing: Preprocessing, device_id: int | None, batch_size: int, n_threads: int
) -> Any:
    device = "cpu" if device_id is None else "gpu"
    side = preprocessing.size
    filters = {"bicubic": types.INTERP_CUBIC, "bilinear": types.INTERP_TRIANGULAR}

    @pipeline_def(prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
    def graph() -> Any:
        images = fn.external_source(name="images", device=device, layout="HWC")
        sampled = fn.resize(images, size=(N_ROWS, N_COLUMNS), interp_type=types.INTERP_NN)
        resized = fn.resize(
            images,
            size=fn.external_source(name="size"),
            roi_start=fn.external_source(name="start"),
            roi_end=fn.external_source(name="end"),
            antialias=True,
            interp_type=filters[preprocessing.interpolation],
            dtype=types.UINT8,
        )
        if preprocessing.resize_mode != "longest":
            return resized, sampled
        padded = fn.crop(
            resized,
            crop=(side, side),
            out_of_bounds_policy="pad",
            fill_values=preprocessing.fill_color,
            rounding="truncate",
        )
        return padded, sampled

    pipeline = graph(batch_size=batch_size, num_threads=n_threads, device_id=device_id)
    pipeline.build()
    return pipeline
