"""What assets share: where things lie, and the embedding model."""

import os
from functools import lru_cache
from typing import TYPE_CHECKING

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
    precision: str
    batch_size: int
    max_pixels: int

    def weights_identity(self) -> str:
        """A text that changes when the weights do."""
        from curator_assets.kernels.weights import weights_identity

        return weights_identity(self.name, self.pretrained)

    def load(self) -> "tuple[ImageDecoder, EncoderModel]":
        """The decoder and the model, on the device in use; loaded once a process.

        Raises:
            ModelUnavailableError: the weights can't be had; says the ways out.
        """
        return _load(
            self.name,
            self.pretrained,
            self.weights_identity(),
            self.device,
            self.precision,
            self.batch_size,
            self.max_pixels,
        )


@lru_cache(maxsize=1)
def _load(
    name: str,
    pretrained: str,
    weights: str,  # part of the key only: a checkpoint that was replaced is loaded again
    device: str,
    precision: str,
    batch_size: int,
    max_pixels: int,
) -> "tuple[ImageDecoder, EncoderModel]":
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.device import resolve_device
    from curator_assets.kernels.encode import load_model

    device = resolve_device(device)
    model = load_model(name, pretrained, device=device, precision=precision, batch_size=batch_size)
    decoder = ImageDecoder(
        model.preprocessing,
        device=device,
        batch_size=batch_size,
        max_pixels=max_pixels,
        n_threads=len(os.sched_getaffinity(0)),
    )
    return decoder, model


def resources(settings: Settings) -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    """The resources that the settings ask for."""
    return {
        "storage": Storage(source=settings.source, output=settings.output),
        "encoder": Encoder(
            name=settings.model.name,
            pretrained=settings.model.pretrained,
            device=settings.model.device,
            precision=settings.model.precision,
            batch_size=settings.model.batch_size,
            max_pixels=settings.decode.max_pixels,
        ),
    }
