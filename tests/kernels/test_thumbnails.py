from io import BytesIO

import pytest
from PIL import Image

from curator_assets.kernels.thumbnails import contact_sheet, thumbnail


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
