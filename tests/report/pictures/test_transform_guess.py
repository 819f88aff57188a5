"""What is said of a copy: of the demo's planted ones, and of what facts alone tell."""

import hashlib
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import COPIES, FORMATS, MIN_COPIED_PIXELS
from curator_assets.kernels.decode_with_pillow import picture_of
from curator_assets.kernels.image_format import sniff_format
from curator_assets.kernels.thumbnails import page_thumbnail
from curator_assets.report.pictures.transform_guess import Seen, guess, other_aspect

LARGE = [crop for crop in crops() if min(crop.box[2:]) >= MIN_COPIED_PIXELS]
SAYS = {
    "byte_identical": "identical bytes",
    "re_encoded": "re-encoded",
    "resized": "smaller: ",
    "cropped": "cropped to 9",
    "brightened": "brighter",
    "exif_rotated_copy": "stored turned, EXIF sets it upright",
    "png": "other format: png",
    "webp": "other format: webp",
    "grayscale": "grey",
    "cmyk": "re-encoded",
    "exif_rotated": "stored turned, EXIF sets it upright",
}


def seen(data: bytes) -> Seen:
    picture, _ = picture_of(data, max_pixels=10_000_000)
    facts = {
        "width": picture.width,
        "height": picture.height,
        "format": sniff_format(data),
        "n_bytes": len(data),
        "content_hash": hashlib.md5(data).hexdigest(),
    }
    return Seen(facts, page_thumbnail(data, max_bytes=16_000))


def encoded(image: Image.Image, image_format: str = "JPEG", **options) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("case", SAYS)
def test_what_is_said_of_planted_copies_is_right(case):
    encode = (COPIES | FORMATS)[case]
    n_said = 0
    for crop in LARGE[::25]:
        kept, removed = COPIES["byte_identical"](crop.image)[1], encode(crop.image)[1]
        said = guess(seen(kept), seen(removed))
        was_grey = case == "grayscale" and said == "re-encoded"
        assert said == "" or was_grey or said.startswith(SAYS[case])
        assert "," not in said or "EXIF" in said
        n_said += said.startswith(SAYS[case])
    assert n_said > len(LARGE[::25]) / 2


def test_of_different_photographs_nothing_is_said():
    images = [seen(encoded(crop.image)) for crop in LARGE[::20]]
    assert len(images) > 5
    for kept, removed in pairwise(images):
        assert guess(kept, removed) == ""


def test_several_may_hold():
    image = LARGE[0].image
    kept, half = seen(encoded(image)), image.resize((image.width // 2, image.height // 2))
    sizes = f"{half.width} x {half.height} of {image.width} x {image.height}"
    assert guess(kept, seen(encoded(half, "PNG"))) == f"smaller: {sizes}, other format: png"
    turned = half.transpose(Image.Transpose.ROTATE_270)
    assert guess(kept, seen(encoded(turned))).startswith("turned 90° clockwise, smaller: ")
    width, height = image.size
    part = image.crop((0, 0, width * 3 // 4, height * 3 // 4))
    small = part.resize((width // 2, height // 2))
    assert guess(kept, seen(encoded(part))) == "cropped to 56\N{NO-BREAK SPACE}% of its area"
    assert (
        guess(kept, seen(encoded(small)))
        == "cropped to 56\N{NO-BREAK SPACE}% of its area, scaled down"
    )
    assert (
        guess(seen(encoded(part)), kept)
        == "shows more: the kept image is 56\N{NO-BREAK SPACE}% of it"
    )


def test_the_same_pixels_in_other_bytes_are_not_called_re_encoded():
    image = LARGE[0].image
    assert guess(seen(encoded(image)), seen(encoded(image, comment=b"words"))) == ""


def test_of_one_colour_only_facts_are_said():
    red = seen(encoded(Image.new("RGB", (40, 30), "red")))
    small = seen(encoded(Image.new("RGB", (20, 15), "red"), "PNG"))
    assert guess(red, small) == "smaller: 20 x 15 of 40 x 30, other format: png"
    assert guess(red, seen(encoded(Image.new("RGB", (40, 30), "red"), quality=20))) == ""
    assert guess(red, seen(encoded(Image.new("RGB", (20, 15), "blue")))) == ""


def test_another_aspect_ratio_is_one_beyond_rounding():
    facts = {"width": 400, "height": 300}
    assert not other_aspect(facts, {"width": 133, "height": 100})
    assert other_aspect(facts, {"width": 300, "height": 400})


def test_what_exif_turns_is_told_from_what_was_turned(shared_data):
    photos = [shared_data / f"exif_orientation/Landscape_{i}.jpg" for i in range(1, 9)]
    upright, *others = [seen(photo.read_bytes()) for photo in photos]
    for orientation, other in enumerate(others, 2):
        how = "mirrored" if orientation in (2, 4) else "turned"
        assert guess(upright, other).startswith(f"stored {how}, EXIF sets it upright")
        assert guess(other, upright).startswith("stored upright")
    stored = Image.open(photos[5])  # of orientation 6, without its tag
    bare = seen(encoded(Image.fromarray(np.asarray(stored.convert("RGB"))), quality=95))
    said = "turned 90° counterclockwise, altered in places"  # each has its number drawn into it
    assert guess(upright, bare) == said
