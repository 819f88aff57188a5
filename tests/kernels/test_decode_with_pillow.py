import io
import struct
import warnings

import numpy as np
import pillow_heif
import pytest
import torch
from encoded_images import decode, encoded, waves
from PIL import Image, ImageFile, ImageOps

from curator_assets.kernels.decode_with_pillow import PillowError, picture_of
from curator_assets.kernels.image_format import DECODABLE, sniff_format

FORMATS = {"gif": "GIF", "avif": "AVIF", "heic": "HEIF"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["AVIF", "HEIF"])
def test_orientation_is_applied_once(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = waves()
    data = encoded(image, file_format, exif=exif.tobytes(), quality=95)
    assert (b"irot" in data or b"imir" in data) == (orientation > 1)
    image.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(image)
    batch = decode(data, encoded(upright, "PNG"))
    assert (batch.width[0], batch.height[0]) == upright.size
    assert (batch.pixels[0] - batch.pixels[1]).abs().mean() < 6


def test_a_gif_shows_its_first_frame() -> None:
    first, second = waves().quantize(32), ImageOps.invert(waves()).quantize(32)
    moving = encoded(first, "GIF", save_all=True, append_images=[second])
    batch = decode(moving, encoded(first.convert("RGB"), "PNG"))
    assert batch.format[0] == "gif"
    assert torch.equal(batch.pixels[0], batch.pixels[1])


def test_a_gif_cut_after_its_first_frame_is_read() -> None:
    first = waves().quantize(32)
    still = encoded(first, "GIF")
    moving = encoded(first, "GIF", save_all=True, append_images=[ImageOps.invert(waves())])
    batch = decode(moving[: len(still) + 60], still)
    assert batch.errors == [None, None]


def bomb(name: str) -> bytes:
    """A small file whose header announces 12,000 x 12,000 pixels."""
    data = bytearray(encoded(waves(), FORMATS[name]))
    if name == "gif":
        data[6:10] = struct.pack("<HH", 12_000, 12_000)
    else:
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", 12_000, 12_000)
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
def test_a_size_beyond_the_limit_is_refused_by_the_header(name: str) -> None:
    batch = decode(bomb(name), encoded(waves(), FORMATS[name]), max_pixels=120 * 80)
    assert batch.errors == ["too many pixels", None]
    wider = encoded(waves(121), FORMATS[name])
    assert decode(wider, max_pixels=120 * 80).errors == ["too many pixels"]


def test_the_caller_alone_decides_how_large_an_image_may_be() -> None:
    data = encoded(Image.new("1", (14_000, 13_000)), "GIF")  # more than Pillow's own two limits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data, max_pixels=200_000_000).errors == [None]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.03, 0.3, 0.6, 0.9, 0.98])
def test_half_a_picture_is_never_shown(name: str, share: float) -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    data = encoded(waves(), FORMATS[name])
    assert decode(data[: int(len(data) * share)]).errors == ["truncated"]


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_said_of_the_image(name: str) -> None:
    data = encoded(waves(), FORMATS[name])
    for at in range(8, len(data), max(1, len(data) // 60)):
        damaged = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        (error,) = decode(damaged).errors
        assert error in (None, "truncated", "corrupt", "too many pixels", "not an image"), at


def test_ten_bits_are_brought_to_eight() -> None:
    deep = np.asarray(waves()).astype(np.uint16) * 257
    heif, file = pillow_heif.from_bytes("RGB;16", (120, 80), deep.tobytes()), io.BytesIO()
    heif.save(file, quality=95)
    assert pillow_heif.open_heif(file.getvalue()).info["bit_depth"] == 10
    batch = decode(file.getvalue(), encoded(waves(), "PNG"))
    assert (batch.pixels[0] - batch.pixels[1]).abs().mean() < 6


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_that_stands_for_an_animation_is_not_shown(mode: str) -> None:
    stand_in, first = waves().convert(mode), ImageOps.invert(waves()).convert(mode)
    first.putpixel((0, 0), (9, 9, 9, 0)[: len(mode)])
    data = encoded(
        stand_in, "PNG", save_all=True, default_image=True, append_images=[first, stand_in]
    )
    batch = decode(data, encoded(first, "PNG"))
    assert batch.has_alpha.tolist() == [mode == "RGBA"] * 2
    assert torch.equal(batch.pixels[0], batch.pixels[1])
    shown, _ = picture_of(data, max_pixels=10_000)
    assert np.array_equal(shown, picture_of(encoded(first, "PNG"), max_pixels=10_000)[0])


def test_people_are_shown_every_format_that_is_embedded() -> None:
    names = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF"}
    names |= FORMATS | {"jpeg2000": "JPEG2000"}
    assert names.keys() == DECODABLE
    for name, file_format in names.items():
        data = encoded(waves(), file_format)
        assert sniff_format(data) == name
        shown, _ = picture_of(data, max_pixels=10_000)
        assert (decode(encoded(shown, "PNG")).pixels - decode(data).pixels).abs().max() <= 1


def test_what_no_reader_knows_is_refused_by_name() -> None:
    with pytest.raises(PillowError, match=r"expected one of jpeg, .*got None"):
        picture_of(b"text", max_pixels=10)
