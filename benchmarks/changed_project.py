"""A project whose tars a benchmark changes, and what its commands are seen to do."""

from __future__ import annotations

import io
import random
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import counted_command
import dagster as dg
import yaml
from PIL import Image, ImageEnhance
from written_tars import write_tar

from curator_assets.cli.instance import looked_at_instance
from curator_assets.project import SETTINGS

SIDE = 320
EMBED = "image_embeddings"

Sample = tuple[str, bytes, str]  # key, image, caption


def edits(folder: Path) -> Iterator[bytes]:
    """Photographs of a folder as JPEG files, cut, lit and compressed otherwise each time.

    Raises:
        SystemExit: it has none.
    """
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        sys.exit(f"--photos: {folder} holds no .jpg")
    drawn, seen = random.Random(0), set[bytes]()
    for number in count():
        with Image.open(paths[number % len(paths)]) as photo:
            image = photo.convert("RGB")
        image.thumbnail((SIDE, SIDE))
        width, height = (round(side * drawn.uniform(0.6, 1)) for side in image.size)
        left = drawn.randint(0, image.width - width)
        top = drawn.randint(0, image.height - height)
        image = image.crop((left, top, left + width, top + height))
        image = ImageEnhance.Brightness(image).enhance(drawn.uniform(0.7, 1.3))
        data = io.BytesIO()
        image.save(data, "JPEG", quality=drawn.randint(70, 95))
        if data.getvalue() not in seen:
            seen.add(data.getvalue())
            yield data.getvalue()


class Project:
    """A project, and what lies in its tars.

    Args:
        folder: an empty one.
        images: to take new ones from.
        model: settings of the model.

    Attributes:
        tars: name -> samples.
    """

    def __init__(self, folder: Path, images: Iterator[bytes], model: dict[str, str]) -> None:
        self.folder, self._images = folder, images
        self.tars = dict[str, list[Sample]]()
        self._numbers = count()
        (folder / "tars").mkdir()
        settings = {"source": "tars", "output": "curated", "model": model}
        (folder / SETTINGS).write_text(yaml.safe_dump(settings))

    def new(self, n: int) -> list[Sample]:
        """Samples of new images."""
        numbers = islice(self._numbers, n)
        return [(f"{i:06d}", next(self._images), f"photograph {i}") for i in numbers]

    def put(self, tars: dict[str, list[Sample]]) -> None:
        """Make these all of the tars there are; those that are as they were are not written."""
        for name in self.tars.keys() - tars.keys():
            self._path(name).unlink()
        for name, samples in tars.items():
            if self.tars.get(name) != samples:
                members = (
                    (f"{key}.{ext}", data)
                    for key, image, caption in samples
                    for ext, data in (("jpg", image), ("txt", caption.encode()))
                )
                write_tar(self._path(name), members)
        self.tars = tars

    def curate(self, *words: str) -> str:
        """What a command of `curate` prints; it must go well."""
        return counted_command.curate(self.folder, *words)

    def counted(self) -> tuple[Counter[str], Counter[str]]:
        """What was counted since this was last asked: images, and CPU-seconds of stages."""
        images, stages = Counter[str](), Counter[str]()
        for found in counted_command.counts(self.folder):
            if "stage" in found:
                stages[found["stage"]] += found["cpu_seconds"]
            else:
                images.update(found)
        return images, stages

    def reported(self, since: float) -> Counter[str]:
        """What the metadata of embeddings made since then says of images."""
        wanted = dg.AssetRecordsFilter(dg.AssetKey(EMBED), after_timestamp=since)
        found = Counter[str]()
        with looked_at_instance(self.folder / SETTINGS) as instance:
            for record in instance.fetch_materializations(wanted, limit=1000).records:
                assert record.asset_materialization is not None
                metadata = record.asset_materialization.metadata
                if metadata["work_done"].value:
                    for name in ("reused", "decoded", "encoded", "computed"):
                        found[name] += int(str(metadata[f"n_{name}"].value))
        return found

    def _path(self, name: str) -> Path:
        return self.folder / f"tars/{name}.tar"
