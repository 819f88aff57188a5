from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from curator_assets.kernels.decode_with_pillow import exif_orientation
from curator_assets.kernels.thumbnails import contact_sheet, page_thumbnail, thumbnail


def picture(size, color, *, orientation=1, suffix="JPEG") -> bytes:
    file, image = BytesIO(), Image.new("RGB", size, color)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, suffix, exif=exif)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def test_a_thumbnail_fits_keeps_its_shape_and_stands_upright():
    assert opened(thumbnail(picture((400, 200), "red"), 64)).size == (64, 32)
    assert opened(thumbnail(picture((400, 200), "red", orientation=6), 64)).size == (32, 64)
    assert opened(thumbnail(picture((20, 10), "red", suffix="PNG"), 64)).size == (20, 10)


@pytest.mark.parametrize("data", [b"", b"not an image", picture((64, 64), "red")[:100]])
def test_what_can_not_be_decoded_has_no_thumbnail(data):
    assert thumbnail(data, 64) is None


def test_a_contact_sheet_shows_each_image_in_its_place():
    rows = [[picture((50, 50), "red"), None], [picture((50, 50), "blue"), b"broken"]]
    sheet = opened(contact_sheet(rows, 50))
    red, blue, empty = sheet.getpixel((29, 29)), sheet.getpixel((29, 83)), sheet.getpixel((83, 29))
    assert red[0] > 200 > 60 > red[2]
    assert blue[2] > 200 > 60 > blue[0]
    assert max(empty) - min(empty) < 20


def test_an_empty_contact_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([], 50)


@pytest.mark.parametrize("size", [(400, 200), (900, 900), (100, 60), (2000, 3)])
def test_a_picture_on_a_page_is_never_enlarged_and_large_enough_to_judge(size):
    small = page_thumbnail(picture(size, "red"), max_bytes=16_000)
    assert opened(small.jpeg).size == (small.width, small.height) == small.pixels().shape[1::-1]
    assert min(max(size), 240) <= max(small.width, small.height) <= min(max(size), 320)


def test_a_picture_that_compresses_badly_loses_quality_and_stays_large():
    noise = np.random.default_rng(0).integers(256, size=(400, 400, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=1)
    for most in (60_000, 16_000, 3_000):
        small = page_thumbnail(file.getvalue(), max_bytes=most)
        assert len(small.jpeg) <= most
        assert max(small.width, small.height) >= 240
    assert page_thumbnail(file.getvalue(), max_bytes=100) is None


def test_the_harshest_noise_has_a_picture_too():
    black_and_white = np.random.default_rng(0).integers(2, size=(240, 240), dtype=np.uint8) * 255
    file = BytesIO()
    Image.fromarray(black_and_white).save(file, "PNG")
    assert page_thumbnail(file.getvalue(), max_bytes=16_000).width == 240
    assert 0 < len(page_thumbnail(file.getvalue(), max_bytes=3_000).jpeg) <= 3_000


def test_a_picture_stands_upright_and_says_that_it_did_not():
    for orientation in range(1, 9):
        small = page_thumbnail(picture((40, 20), "red", orientation=orientation), max_bytes=9_000)
        assert small.orientation == orientation
        assert (small.width < small.height) == (orientation > 4)
    assert exif_orientation(b"no image") == 1
    assert page_thumbnail(b"no image", max_bytes=9_000) is None


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "RGBA", "LA"])
def test_a_picture_of_any_mode_shows_its_colours(mode):
    ramp = np.tile(np.linspace(60, 200, 64), (64, 1))
    grey = Image.fromarray(ramp.astype(np.uint8))
    file = BytesIO()
    if mode == "I;16":
        Image.fromarray((ramp * 256).astype(np.uint16)).save(file, "PNG")
    else:
        grey.convert(mode).save(file, "TIFF" if mode == "CMYK" else "PNG")
    pixels = page_thumbnail(file.getvalue(), max_bytes=16_000).pixels()
    assert np.abs(pixels.astype(float) - ramp[:, :, None]).max() < 8


def test_what_an_image_carries_beside_its_pixels_takes_no_room():
    file = BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "JPEG", comment=b"c" * 60_000)
    plain = page_thumbnail(picture((64, 64), "red"), max_bytes=3_000)
    assert page_thumbnail(file.getvalue(), max_bytes=3_000) == plain
