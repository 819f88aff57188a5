"""The embedding model and the decoder that feeds it, on the devices of this machine."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from curator_assets.engine.allotment import n_cores
from curator_assets.models.hashes import Hashes
from curator_assets.models.identity import LOCAL_DIR, model_files
from curator_assets.settings import Settings

if TYPE_CHECKING:
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.encode import EncoderModel


@dataclass(frozen=True)
class Encoder:
    """An embedding model by what the settings say of it; loaded when it is asked for.

    Attributes:
        name: of the model, as open_clip has it.
        pretrained: tag or path.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`.
        batch_size: images a forward pass; None for what suits the device.
        execution: how it runs.
        max_pixels: images with more are refused.
        max_decoding_bytes: what decoding takes at most at a time.
        hashes: of files of weights that were read before.
    """

    name: str
    pretrained: str
    device: str
    batch_size: int | None
    execution: str
    max_pixels: int
    max_decoding_bytes: int
    hashes: Hashes = field(default_factory=Hashes, compare=False)

    @classmethod
    def of(cls, settings: Settings) -> Encoder:
        """That of the settings."""
        model = settings.model
        return cls(
            name=model.name,
            pretrained=model.pretrained,
            device=model.device,
            batch_size=None if model.batch_size == "auto" else model.batch_size,
            execution=model.execution,
            max_pixels=settings.decode.max_pixels,
            max_decoding_bytes=settings.decode.max_decoding_bytes,
        )

    def device_type(self) -> str:
        """`cpu` or `cuda`, there or not; torch is asked only where there is a driver."""
        if self.device != "auto":
            return self.device.partition(":")[0]
        if not _has_cuda_driver():
            return "cpu"
        from curator_assets.kernels.device import resolve_device

        return resolve_device(self.device)

    def devices(self) -> list[str]:
        """Every torch device to embed on: all GPUs, or the CPU; torch is asked only of GPUs."""
        if self.device_type() == "cpu":
            return ["cpu"]
        from curator_assets.kernels.device import all_devices

        return all_devices(self.device)

    def load(self, precision: str, form: str) -> tuple[ImageDecoder, EncoderModel]:
        """The decoder and the model, on the device in use; loaded once a process.

        Args:
            precision: `float32`, `bfloat16` or `float16`.
            form: how its tower is written down, one of `FORMS`.

        Raises:
            ModelUnavailableError: the weights can't be had; says the ways out.
            UnsupportedFormError: this machine can't run the form.
        """
        return _load(self, precision, form, _mark(self))


@cache
def _has_cuda_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _mark(encoder: Encoder) -> tuple[object, ...]:
    """Changes when weights are replaced where they lie, which are then loaded again."""
    is_folder = encoder.name.startswith(LOCAL_DIR)
    path = Path(encoder.name.removeprefix(LOCAL_DIR) if is_folder else encoder.pretrained)
    files = sorted(model_files(path)) if is_folder and path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)


@lru_cache(maxsize=1)
def _load(
    encoder: Encoder, precision: str, form: str, mark: tuple[object, ...]
) -> tuple[ImageDecoder, EncoderModel]:
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.device import resolve_device
    from curator_assets.models.open_clip_models import load_model

    device, n_threads = resolve_device(encoder.device), n_cores()
    model = load_model(
        encoder.name,
        encoder.pretrained,
        device=device,
        precision=precision,
        form=form,
        batch_size=encoder.batch_size,
        n_threads=n_threads,
        execution=encoder.execution,
        hashes=encoder.hashes,
    )
    decoder = ImageDecoder(
        model.preprocessing,
        device=device,
        batch_size=model.batch_size * (n_threads if device == "cpu" else 1),
        max_pixels=encoder.max_pixels,
        max_decoding_bytes=encoder.max_decoding_bytes,
        n_threads=n_threads,
    )
    return decoder, model
