"""Sample tars for the demo and the tests, with planted cases whose truth is known.

Every sample is an image, a caption (.txt) and metadata (.json). Originals come before their copies
in order of arrival, so `keep: first` keeps the original.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageEnhance

from curator_assets.demo.photos import Crop, crops
from curator_assets.storage.shards.tars import write_tar

MIN_COPIED_PIXELS = 230  # copies are made of crops with at least this short side
_ORIENTATION_TAG = 0x0112
_ROTATED_CLOCKWISE = 6  # what a viewer has to do


@dataclass(frozen=True)
class Planted:
    """A sample whose fate is known.

    Attributes:
        id: image id, `<shard>/<key>`.
        case: what was done.
        of: image id of the original that it is a copy of, or None.
        expect: `kept`, `duplicate` or `unreadable:<reason>`.
    """

    id: str
    case: str
    of: str | None
    expect: str


@dataclass(frozen=True)
class _Draft:
    key: str
    ext: str
    data: bytes
    crop: Crop
    planted: Planted


def _jpeg(image: Image.Image, quality: int = 95, **options: object) -> bytes:
    return _encoded(image, "JPEG", quality=quality, **options)


def _encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def _resized(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 4 // 5, image.height * 4 // 5), Image.Resampling.LANCZOS)


def _cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 100, height // 100, width - width // 100, height - height // 100))


def _rotated(image: Image.Image) -> bytes:
    """Stored a quarter turn back, with the EXIF tag that turns it upright."""
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = _ROTATED_CLOCKWISE
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


_Case = Callable[[Image.Image], tuple[str, bytes]]

COPIES: dict[str, _Case] = {
    "byte_identical": lambda image: ("jpg", _jpeg(image)),
    "re_encoded": lambda image: ("jpg", _jpeg(image, quality=92)),
    "resized": lambda image: ("jpg", _jpeg(_resized(image))),
    "cropped": lambda image: ("jpg", _jpeg(_cropped(image))),
    "brightened": lambda image: ("jpg", _jpeg(ImageEnhance.Brightness(image).enhance(1.05))),
    "exif_rotated_copy": lambda image: ("jpg", _rotated(image)),
}

FORMATS: dict[str, _Case] = {
    "png": lambda image: ("png", _encoded(image, "PNG")),
    "webp": lambda image: ("webp", _encoded(image, "WEBP", quality=90)),
    "grayscale": lambda image: ("jpg", _jpeg(image.convert("L"))),
    "cmyk": lambda image: ("jpg", _jpeg(image.convert("CMYK"))),
    "exif_rotated": lambda image: ("jpg", _rotated(image)),
}

BROKEN: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "truncated": ("truncated", lambda data: data[: len(data) * 2 // 5]),
    "empty": ("empty", lambda data: b""),
    "text_named_jpg": ("not an image", lambda data: b"This is not a photograph.\n"),
}


def make_shards(output: Path, *, n_samples: int, seed: int) -> list[Planted]:
    """Write sample tars below `output`, half in folder `a` and half in `b`.

    Args:
        output: folder of the tars; made if missing.
        n_samples: number of different photographs, copies and broken files not counted.
        seed: of the choice of crops.

    Returns:
        The truth about every readable and unreadable sample.
    """
    chosen = crops()
    random.Random(seed).shuffle(chosen)
    chosen.sort(key=_is_small)  # so that a small set, too, holds crops to copy
    shards = ["a/00000", "a/00001", "b/00000"] if n_samples < 150 else _SIX_SHARDS
    drafts = list(_drafts(chosen[:n_samples], shards))
    for shard in shards:
        target = output / f"{shard}.tar"
        target.parent.mkdir(parents=True, exist_ok=True)
        mine = [draft for draft in drafts if _shard_of(draft.planted.id, draft.key) == shard]
        with target.open("wb") as file:
            members = (member for draft in mine for member in _members(draft))
            write_tar(file, ((name, len(data), BytesIO(data)) for name, data in members))
    return [draft.planted for draft in drafts]


_SIX_SHARDS = [f"{folder}/{i:05d}" for folder in "ab" for i in range(3)]


def _drafts(chosen: list[Crop], shards: list[str]) -> Iterator[_Draft]:
    """Originals, special formats, then copies and broken files."""
    special = dict(zip(range(len(FORMATS)), FORMATS.items(), strict=True))
    originals = []
    for i, crop in enumerate(chosen):
        shard = shards[i % len(shards)]
        case, encode = special.get(i, ("photograph", lambda image: ("jpg", _jpeg(image))))
        # one key that two shards share, for different images
        key = "000000" if i in (len(FORMATS), len(FORMATS) + 1) else f"{i:06d}x"
        ext, data = encode(crop.image)
        planted = Planted(f"{shard}/{key}", "same_key" if key == "000000" else case, None, "kept")
        yield (draft := _Draft(key, ext, data, crop, planted))
        if case == "photograph":
            originals.append(draft)
    yield from _copies(originals, shards, per_case=1 if len(shards) == 3 else 3)
    for i, (case, (reason, spoil)) in enumerate(BROKEN.items()):
        key = f"broken{i}"
        planted = Planted(f"{shards[i]}/{key}", case, None, f"unreadable:{reason}")
        yield _Draft(key, "jpg", spoil(originals[i].data), originals[i].crop, planted)


def _copies(originals: list[_Draft], shards: list[str], *, per_case: int) -> Iterator[_Draft]:
    """Each kind of copy `per_case` times in the original's shard, and as often in a later one."""
    large = [
        draft
        for draft in originals
        if not _is_small(draft.crop) and _shard_of(draft.planted.id, draft.key) != shards[-1]
    ]
    bases = iter(large)
    for case, encode in COPIES.items():
        for n in range(2 * per_case):
            base = next(bases)
            home = shards.index(_shard_of(base.planted.id, base.key))
            shard = shards[home if n % 2 == 0 else home + 1]
            key = f"copy_{case}{n}"
            planted = Planted(f"{shard}/{key}", case, base.planted.id, "duplicate")
            ext, data = encode(base.crop.image)
            yield _Draft(key, ext, data, base.crop, planted)


def _is_small(crop: Crop) -> bool:
    return min(crop.box[2:]) < MIN_COPIED_PIXELS


def _shard_of(image_id: str, key: str) -> str:
    return image_id.removesuffix(f"/{key}")


def _members(draft: _Draft) -> Iterator[tuple[str, bytes]]:
    """Name and data of each file of a sample."""
    crop = draft.crop
    about = {"photo": crop.photo, "package": crop.package, "box": crop.box}
    metadata = json.dumps(about | {"case": draft.planted.case}).encode()
    yield f"{draft.key}.{draft.ext}", draft.data
    yield f"{draft.key}.txt", crop.caption.encode()
    yield f"{draft.key}.json", metadata


def write_truth(path: Path, truth: list[Planted]) -> None:
    """Write the truth beside the tars."""
    path.write_text(json.dumps([asdict(planted) for planted in truth], indent=1))


def read_truth(path: Path) -> list[Planted]:
    """The truth as it was written."""
    return [Planted(**planted) for planted in json.loads(path.read_text())]
