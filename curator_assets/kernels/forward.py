"""One forward pass of an image tower, and its replay as a CUDA graph.

Legend: *N images, S pixels a side, D embedding width*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch

from curator_assets.kernels.products import full_float32_products

EXECUTIONS = ("eager", "graph", "compiled")
"""How a tower runs: kernel by kernel; replayed as one CUDA graph, with the same bits; fused by
torch's compiler, which rounds otherwise, and replayed. Without CUDA nothing is replayed."""

_WARM_UPS = 3


@torch.inference_mode()
def embed(visual: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
    """Embeddings, in arithmetic that is deterministic and, for float32, no less than float32.

    Args:
        visual: The image tower.
        batch: [N, 3, S, S] in the tower's own dtype.

    Returns:
        float32 [N, D], unit L2 norm.
    """
    with _exact_on(batch):
        output = visual(batch)
    pooled = output[0] if isinstance(output, tuple) else output  # CoCa also returns its tokens
    return torch.nn.functional.normalize(pooled.float(), dim=-1)


@contextmanager
def _exact_on(batch: torch.Tensor) -> Iterator[None]:
    """Kernels of one order of summation inside; those of float32 without TF32."""
    if not batch.is_cuda:
        yield
        return
    float32 = full_float32_products() if batch.dtype == torch.float32 else nullcontext()
    flags = {"enabled": True, "deterministic": True, "allow_tf32": False}
    with torch.backends.cudnn.flags(**flags), float32:
        yield


class Replayed:
    """A forward pass whose kernels are recorded once and replayed; of one shape, in one lane.

    Args:
        forward: batch -> embeddings, on CUDA.
    """

    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._forward = forward
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch = self._embeddings = torch.empty(0)

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """The embeddings of a batch; overwritten by the next call, so to be read in this lane."""
        if self._graph is None or batch.shape != self._batch.shape:
            self._record(batch)
        assert self._graph is not None
        self._batch.copy_(batch)
        self._graph.replay()
        return self._embeddings

    def _record(self, batch: torch.Tensor) -> None:
        self._graph, self._batch = None, batch.clone()
        for _ in range(_WARM_UPS):  # libraries set themselves up outside of the recording
            self._forward(self._batch)
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream(batch.device)
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self._embeddings = self._forward(self._batch)
        self._graph = graph
