"""Photographs that installed packages carry, cut into crops that differ from each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from PIL import Image

_FOLDERS = {"scikit-image": ("skimage", "data"), "scikit-learn": ("sklearn", "datasets/images")}


@dataclass(frozen=True)
class Crop:
    """A part of a photograph: `box` is left, top, width, height in pixels."""

    photo: str
    package: str
    box: tuple[int, int, int, int]

    @property
    def image(self) -> Image.Image:
        """The pixels, RGB."""
        left, top, width, height = self.box
        return _photo(self.photo)[1].crop((left, top, left + width, top + height))

    @property
    def caption(self) -> str:
        """True words about the crop."""
        left, top, width, height = self.box
        name = Path(self.photo).stem.replace("_", " ")
        return f"a part of the {name} photograph at ({left}, {top}), {width} by {height} pixels"


def crops() -> list[Crop]:
    """All crops; no two are closer than cosine .91 under the offline model."""
    boxes = json.loads(files("curator_assets.demo").joinpath("crops.json").read_text())
    return list(_crops(boxes))


def _crops(boxes: dict[str, list[tuple[int, int, int, int]]]) -> Iterator[Crop]:
    for photo, parts in boxes.items():
        package, _ = _photo(photo)
        for left, top, width, height in parts:
            yield Crop(photo, package, (left, top, width, height))


@cache
def _photo(name: str) -> tuple[str, Image.Image]:
    """The package that carries a photograph, and its pixels.

    Raises:
        FileNotFoundError: no installed package carries it.
    """
    for package, (module, folder) in _FOLDERS.items():
        path = files(module).joinpath(folder, name)
        if path.is_file():
            with path.open("rb") as file:
                return package, Image.open(file).convert("RGB")
    raise FileNotFoundError(
        f"no photograph {name} in {', '.join(_FOLDERS)}: install 'curator-assets[demo]'"
    )
