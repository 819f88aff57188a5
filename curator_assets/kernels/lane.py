"""Queues of work on a device, each in its own order, and the marks by which one waits for another.

On CUDA a lane is a stream and a mark an event. On CPU a call returns when its work is done, so
there is nothing to wait for and the same code runs with lanes that do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Mark:
    """A point in a lane's work."""

    def wait(self) -> None:
        """Return when the work before the mark is done; other lanes go on, and other threads."""


class Lane:
    """Work that is done in the order in which it was asked for; this one does it at once.

    Attributes:
        handle: the `cudaStream_t` as an integer; 0 on CPU.
    """

    handle = 0

    @contextmanager
    def work(self) -> Iterator[None]:
        """What torch is asked for inside, in this thread, goes to this lane."""
        yield

    def mark(self) -> Mark:
        """The end of what was asked for up to now."""
        return Mark()

    def mark_caller(self) -> Mark:
        """The end of what this thread asked for up to now, in whichever lane it works."""
        return Mark()

    def follow(self, mark: Mark) -> None:
        """What is asked for from now on begins after `mark`."""

    def use(self, tensor: torch.Tensor) -> None:
        """The tensor of another lane is read here: its memory is not given away before."""


class _CudaMark(Mark):
    def __init__(self, stream: torch.cuda.Stream) -> None:
        # blocking: a thread that waits leaves its core to others
        self.event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self.event.record(stream)

    def wait(self) -> None:
        self.event.synchronize()


class _CudaLane(Lane):
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.handle = self._stream.cuda_stream

    @contextmanager
    def work(self) -> Iterator[None]:
        with torch.cuda.stream(self._stream):
            yield

    def mark(self) -> Mark:
        return _CudaMark(self._stream)

    def mark_caller(self) -> Mark:
        return _CudaMark(torch.cuda.current_stream(self._device))

    def follow(self, mark: Mark) -> None:
        if isinstance(mark, _CudaMark):
            self._stream.wait_event(mark.event)

    def use(self, tensor: torch.Tensor) -> None:
        if tensor.is_cuda:
            tensor.record_stream(self._stream)


def lane_on(device: torch.device) -> Lane:
    """A new lane on `cpu`, `cuda` or `cuda:<index>`."""
    return _CudaLane(device) if device.type == "cuda" else Lane()
