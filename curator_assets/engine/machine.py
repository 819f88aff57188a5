"""What this machine is, as far as the pace of its work goes by it."""

from __future__ import annotations

import platform
from pathlib import Path

from curator_assets.engine.allotment import n_cores
from curator_assets.number_words import counted


def machine(device: str, cluster: str | None) -> str:
    """This machine as rates are kept by it: `cpu, AMD EPYC 9654, 8 cores`.

    Args:
        device: the kind of device to embed on, `cpu` or `cuda`; of a GPU the driver tells the name.
        cluster: the address of the Ray cluster that it all is done on; None: none.
    """
    if cluster:
        return f"{device}, Ray cluster {cluster}"
    gpus = [_field(path, "Model") for path in sorted(_NVIDIA.glob("*/information"))]
    devices = sorted({name for name in gpus if name}) if device == "cuda" else []
    n_gpus = [f"{len(gpus)} GPUs"] if devices and len(gpus) > 1 else []
    processor = _field(_CPUINFO, "model name") or platform.machine()
    cores = counted(n_cores(), "core")
    return ", ".join([device, *devices, *n_gpus, processor, cores])


_NVIDIA = Path("/proc/driver/nvidia/gpus")
_CPUINFO = Path("/proc/cpuinfo")


def _field(path: Path, name: str) -> str | None:
    """The first value of a name in a file of `name : value` lines; None if there is none."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), None)
