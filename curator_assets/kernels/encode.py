"""Image encoders: a visual tower with all that its embeddings depend on.

Legend: *N images, S pixels a side, D embedding width*.
"""

import copy
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Lock

import numpy as np
import torch

from curator_assets.errors import UserError
from curator_assets.kernels.device import is_out_of_memory
from curator_assets.kernels.forms import PLAIN, in_form, is_form_supported
from curator_assets.kernels.forward import Replayed, embed
from curator_assets.kernels.lane import Lane, Mark, lane_on
from curator_assets.kernels.resize import Preprocessing
from curator_assets.kernels.watching import ImageWatch, unwatched

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_BATCH = {"cpu": 16, "cuda": 512}

_log = logging.getLogger(__name__)


class UnsupportedFormError(UserError):
    """Embeddings are to be computed in a form that this machine can't run."""


@dataclass
class EncoderModel:
    """An image encoder with everything that its embeddings depend on.

    Attributes:
        visual: The image tower, in evaluation mode, on `device`.
        preprocessing: How it wants its images.
        embedding_dim: D.
        weights: Their identity, `sha256:<hex>`, as `models.identity` tells it of the same weights.
        device: Where it runs.
        dtype: What it computes in.
        form: How the tower is written down, one of `FORMS`.
        memory_format: Channels last for a convolutional tower, which runs twice as fast so.
        batch_size: Images a forward pass; always exactly that many, the last padded. Halved for
            good when memory runs out.
        n_threads: Forward passes at a time on CPU, each on one core: a third faster than one pass
            on all cores for small networks, and as fast for large ones.
        execution: How the tower runs, one of `EXECUTIONS`.
        lane: Of the device, in which it runs.
        n_encoded: Images whose forward pass is done, since the model was made.
        n_computed: The same with the padding of their passes.
    """

    visual: torch.nn.Module
    preprocessing: Preprocessing
    embedding_dim: int
    weights: str
    device: torch.device
    dtype: torch.dtype
    form: str
    memory_format: torch.memory_format
    batch_size: int
    n_threads: int
    execution: str
    lane: Lane
    n_encoded: int = field(default=0, init=False)
    n_computed: int = field(default=0, init=False)
    _counting: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

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

    def begin(
        self, pixels: torch.Tensor, watch: ImageWatch = unwatched
    ) -> Callable[[], np.ndarray]:
        """Begin to encode; the call that is returned waits for the embeddings of `encode`.

        Args:
            pixels: As `encode` takes them.
            watch: Told what native code works on.

        Raises:
            ValueError: `pixels` has another shape.
        """
        side = self.preprocessing.size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, side, side):
            raise ValueError(f"pixels: expected [N, 3, {side}, {side}], got {list(pixels.shape)}")
        n, made = self.batch_size, self.lane.mark_caller()
        chunks = [range(start, min(start + n, len(pixels))) for start in range(0, len(pixels), n)]

        def begin_pass(rows: range) -> tuple[torch.Tensor, Mark]:
            with watch(rows):
                return self._begin_pass(pixels[rows.start : rows.stop], n, made)

        running = [self._threads.submit(begin_pass, rows) for rows in chunks]

        def embeddings() -> np.ndarray:
            with watch(range(len(pixels)) if self.device.type == "cuda" else ()):
                parts = _finished(running, may_fail=self.batch_size > 1)
            if parts is None:
                running.clear()  # they hold what memory there is
                self._halve_batch(n)
                return self.begin(pixels, watch)()
            return np.concatenate([np.zeros((0, self.embedding_dim), np.float32), *parts])

        return embeddings

    def recast(self, precision: str, form: str) -> "EncoderModel":
        """A copy of a plain float32 model that computes in another type or form."""
        is_cast_in_place = form == PLAIN
        visual = copy.deepcopy(self.visual) if is_cast_in_place else self.visual
        model = replace(self, visual=visual)
        model.cast(DTYPES[precision], form)
        return model

    def cast(self, dtype: torch.dtype, form: str) -> None:
        """Make a plain float32 model compute in another type or form, before it encodes."""
        example = self._batch(self.batch_size, torch.float32)
        self.visual = in_form(self.visual, form, dtype, example)
        self.dtype, self.form = dtype, form

    def _begin_pass(self, chunk: torch.Tensor, n: int, made: Mark) -> tuple[torch.Tensor, Mark]:
        """A forward pass of n images: float32 [len(chunk), D] on CPU, there once the mark is."""
        self.lane.follow(made)
        with self.lane.work():
            batch = self._batch(n, self.dtype)
            batch[: len(chunk)] = chunk
            self.lane.use(chunk)
            features = self._forward(batch)[: len(chunk)].to("cpu", non_blocking=True)
            with self._counting:
                self.n_encoded, self.n_computed = self.n_encoded + len(chunk), self.n_computed + n
            return features, self.lane.mark()

    def _batch(self, n: int, dtype: torch.dtype) -> torch.Tensor:
        """Zeros in the shape and the memory format of a forward pass of n images."""
        side = self.preprocessing.size
        batch = torch.zeros((n, 3, side, side), dtype=dtype, device=self.device)
        return batch.to(memory_format=self.memory_format)

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
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if not is_out_of_memory(error) or not may_fail:
            raise
        wait(running)
        return None
    return parts


def place_encoder(
    visual: torch.nn.Module,
    preprocessing: Preprocessing,
    weights: str,
    *,
    device: str,
    precision: str,
    form: str,
    batch_size: int | None,
    n_threads: int,
    execution: str,
) -> EncoderModel:
    """An image tower as an encoder, ready to be called on its device.

    Args:
        visual: The image tower; moved and cast in place.
        preprocessing: How it wants its images.
        weights: Their identity.
        device: `cpu`, `cuda` or `cuda:<index>`.
        precision: One of `DTYPES`.
        form: One of `FORMS`.
        batch_size: Images a forward pass; None for what suits the device.
        n_threads: Forward passes at a time on CPU.
        execution: One of `EXECUTIONS`.

    Raises:
        UnsupportedFormError: This machine can't run the form.
    """
    dtype = DTYPES[precision]
    if not is_form_supported(form, dtype):
        raise UnsupportedFormError(
            f"embeddings are to be computed in {precision} by {form}, which this processor or this "
            "torch can't; embed on a machine like the one where that was chosen"
        )
    visual = visual.eval().requires_grad_(False).to(device)
    memory_format = _memory_format(visual)
    visual = visual.to(memory_format=memory_format)
    side = preprocessing.size
    probe = torch.zeros((1, 3, side, side), device=device)
    encoder = EncoderModel(
        visual=visual,
        preprocessing=preprocessing,
        embedding_dim=embed(visual, probe).shape[1],
        weights=weights,
        device=torch.device(device),
        dtype=torch.float32,
        form=PLAIN,
        memory_format=memory_format,
        batch_size=batch_size or default_batch_size(torch.device(device)),
        n_threads=n_threads,
        execution=execution,
        lane=lane_on(torch.device(device)),
    )
    encoder.cast(dtype, form)
    if execution != "eager":
        encoder.encode(probe.float())  # before decoding begins, beside which nothing is recorded
    return encoder


def default_batch_size(device: torch.device) -> int:
    """Images a forward pass, whatever memory is free: with another number others may round."""
    return _BATCH[device.type]


def _memory_format(visual: torch.nn.Module) -> torch.memory_format:
    n_convolutions = sum(isinstance(part, torch.nn.Conv2d) for part in visual.modules())
    return torch.channels_last if n_convolutions > 1 else torch.contiguous_format
