"""What assets share: where things lie, and the embedding model."""

import os
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

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
    """The embedding model and the decoder that feeds it, loaded once a process."""

    name: str
    pretrained: str
    device: str
    precision: str
    batch_size: int
    max_pixels: int

    _loaded: "tuple[ImageDecoder, EncoderModel] | None" = PrivateAttr(default=None)

    def load(self) -> "tuple[ImageDecoder, EncoderModel]":
        """The decoder and the model, on the device in use.

        Raises:
            ModelUnavailableError: the weights can't be had; says the ways out.
        """
        from curator_assets.kernels.decode import ImageDecoder
        from curator_assets.kernels.device import resolve_device
        from curator_assets.kernels.encode import load_model

        if self._loaded is None:
            device = resolve_device(self.device)
            model = load_model(
                self.name,
                self.pretrained,
                device=device,
                precision=self.precision,
                batch_size=self.batch_size,
            )
            decoder = ImageDecoder(
                model.preprocessing,
                device=device,
                batch_size=self.batch_size,
                max_pixels=self.max_pixels,
                n_threads=len(os.sched_getaffinity(0)),
            )
            self._loaded = decoder, model
        return self._loaded


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
