"""What assets share: where things lie, and the embedding model."""

import os
from functools import lru_cache
from typing import TYPE_CHECKING, TypedDict

import dagster as dg

from curator_assets.settings import Settings
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.source import Source
from curator_assets.storage.store import Store

if TYPE_CHECKING:
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.encode import EncoderModel


class Storage(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the tars lie, and where everything made from them goes."""

    source: str
    output: str

    @property
    def tars(self) -> Source:
        """The tars under `source`."""
        return Source(self.source)

    @property
    def store(self) -> Store:
        """The files under `output`."""
        return Store(self.output)

    @property
    def ledger(self) -> Ledger:
        """What was made from what."""
        return Ledger(self.store)


class Encoder(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The embedding model and the decoder that feeds it."""

    name: str
    pretrained: str
    device: str
    batch_size: int | None
    execution: str
    max_pixels: int

    def weights_identity(self) -> str:
        """A text that changes when the weights do."""
        from curator_assets.kernels.weights import weights_identity

        return weights_identity(self.name, self.pretrained)

    def device_type(self) -> str:
        """`cpu` or `cuda`."""
        from curator_assets.kernels.device import resolve_device

        return resolve_device(self.device).partition(":")[0]

    def devices(self) -> list[str]:
        """Every torch device to embed on: all GPUs, or the CPU."""
        from curator_assets.kernels.device import all_devices

        return all_devices(self.device)

    def load(self, precision: str) -> "tuple[ImageDecoder, EncoderModel]":
        """The decoder and the model, on the device in use; loaded once a process.

        Args:
            precision: `float32`, `bfloat16` or `float16`.

        Raises:
            ModelUnavailableError: the weights can't be had; says the ways out.
        """
        return _load(
            self.name,
            self.pretrained,
            self.weights_identity(),
            self.device,
            precision,
            self.batch_size,
            self.execution,
            self.max_pixels,
        )


@lru_cache(maxsize=1)
def _load(
    name: str,
    pretrained: str,
    weights: str,  # part of the key only: a checkpoint that was replaced is loaded again
    device: str,
    precision: str,
    batch_size: int | None,
    execution: str,
    max_pixels: int,
) -> "tuple[ImageDecoder, EncoderModel]":
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.device import resolve_device
    from curator_assets.kernels.encode import load_model

    device, n_cores = resolve_device(device), len(os.sched_getaffinity(0))
    model = load_model(
        name,
        pretrained,
        device=device,
        precision=precision,
        batch_size=batch_size,
        n_threads=n_cores,
        execution=execution,
    )
    decoder = ImageDecoder(
        model.preprocessing,
        device=device,
        batch_size=model.batch_size * (n_cores if device == "cpu" else 1),
        max_pixels=max_pixels,
        n_threads=n_cores,
    )
    return decoder, model


class Resources(TypedDict):
    """By the names under which ops ask for them."""

    storage: Storage
    encoder: Encoder


def resources(settings: Settings) -> Resources:
    """The resources that the settings ask for."""
    return {
        "storage": Storage(source=settings.source, output=settings.output),
        "encoder": Encoder(
            name=settings.model.name,
            pretrained=settings.model.pretrained,
            device=settings.model.device,
            batch_size=None if settings.model.batch_size == "auto" else settings.model.batch_size,
            execution=settings.model.execution,
            max_pixels=settings.decode.max_pixels,
        ),
    }
