"""Which device computes."""

from __future__ import annotations

import torch


def resolve_device(device: str) -> str:
    """The torch device that a setting means.

    Args:
        device: `cpu`, `cuda`, or `auto`: CUDA where there is one.

    Raises:
        ValueError: `cuda` is asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "model.device is cuda, but torch finds no CUDA device: check nvidia-smi and that the "
            "driver serves this torch's CUDA version "
            f"({torch.version.cuda}), or set model.device to auto or cpu"
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def all_devices(device: str) -> list[str]:
    """Every torch device that a setting means: all GPUs that are visible, or the one named.

    Args:
        device: `cpu`, `cuda`, `cuda:<index>` or `auto`.

    Raises:
        ValueError: as `resolve_device`.
    """
    resolved = resolve_device(device)
    if resolved != "cuda":
        return [resolved]
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device; torch has no class of its own for CPU's."""
    is_known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_known or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
