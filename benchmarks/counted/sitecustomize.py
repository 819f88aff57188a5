"""Counts what the kernels are given, in whatever Python process has this folder on its path.

Lines of JSON go to the file that the variable `COUNTED` names: images handed to the decoder and to
the encoder, by the process that has them, and CPU-seconds of each stage of a refresh. Where
`COUNTED_READS` is set, also what is read of local files and what is read back of those just
written, by stage: that takes a line a read, so it is not for what is timed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE, READS = "COUNTED", "COUNTED_READS"
STAGE = "COUNTED_STAGE"
"""The variable that tells workers which stage began them."""

INTAKE = "intake"
"""What comes before the first stage."""


def told(**found: Any) -> None:
    """Append a line."""
    with open(os.environ[VARIABLE], "a") as file:  # noqa: PTH123  imported by every Python
        file.write(json.dumps(found) + "\n")


def cpu_seconds() -> float:
    """Of this process, the children that it has, and those that ended."""
    import psutil

    times = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it has just ended
            times.append(process.cpu_times())
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(t.user + t.system for t in times) + ended.ru_utime + ended.ru_stime


def count_decoded(module: ModuleType) -> None:
    """Tell of the images that decoders begin to decode."""
    begin = module.ImageDecoder.begin

    def counted(self: Any, images: Sequence[bytes], *more: Any, **named: Any) -> Any:
        told(decoded=len(images))
        return begin(self, images, *more, **named)

    module.ImageDecoder.begin = counted


def count_encoded(module: ModuleType) -> None:
    """Tell of the images in forward passes, and of the rows that those have."""
    begin = module.EncoderModel._begin_pass

    def counted(self: Any, chunk: Any, n: int, *more: Any) -> Any:
        told(encoded=len(chunk), computed=n)
        return begin(self, chunk, n, *more)

    module.EncoderModel._begin_pass = counted


def time_stages(module: ModuleType) -> None:
    """Tell of the CPU-seconds that a refresh spends on each stage, its workers' among them."""
    over = module.Pass.over

    def timed(self: Any, stage: Any, *more: Any) -> Iterator[Any]:
        before = cpu_seconds()
        os.environ[STAGE] = stage.name
        yield from over(self, stage, *more)
        told(stage=stage.name, cpu_seconds=cpu_seconds() - before)

    module.Pass.over = timed


def told_read(path: str, data: bytes, how: str = "") -> None:
    """Tell of what was read of a file."""
    told(read=path, stage=os.environ.get(STAGE, INTAKE) + how, n_bytes=len(data))


def count_reads(module: ModuleType) -> None:
    """Tell of the bytes that are read of local files."""
    read = module.LocalFileOpener.read

    def counted(self: Any, *n_bytes: int) -> bytes:
        data: bytes = read(self, *n_bytes)
        told_read(os.path.realpath(self.path), data)
        return data

    module.LocalFileOpener.read = counted


def count_reads_back(module: ModuleType) -> None:
    """Tell of the bytes that are read back of tars before these are in place."""
    read = module.HashedFile.read

    def counted(self: Any, *n_bytes: int) -> bytes:
        data: bytes = read(self, *n_bytes)
        path = Path(self._file.name).resolve()
        name, is_tar, _ = path.name.partition(".tar.")  # `.name.tar.writer.partial`
        if is_tar:
            told_read(str(path.with_name(f"{name[1:]}.tar")), data, ", read back")
        return data

    module.HashedFile.read = counted


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "curator_assets.kernels.decode": count_decoded,
    "curator_assets.kernels.encode": count_encoded,
    "curator_assets.engine.refresh": time_stages,
}
if READS in os.environ:
    PATCHES |= {
        "fsspec.implementations.local": count_reads,
        "curator_assets.storage.written_files": count_reads_back,
    }


class Patching(MetaPathFinder):
    """Finds the modules to be patched where they are; they are patched as they are imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As the finder after it does."""
        spec = PathFinder.find_spec(name, path, target) if name in PATCHES else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            PATCHES[name](module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


if VARIABLE in os.environ:
    sys.meta_path.insert(0, Patching())
