import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from encoded_images import decode, encoded, waves
from PIL import Image, ImageDraw

from curator_assets.kernels.augment import augmented_copies
from curator_assets.kernels.image_format import sniff_format
from curator_assets.kernels.thumbnails import thumbnail
from curator_assets.kernels.transparency import may_have_alpha, without_alpha

SIDE = 96


def mask(shape: str) -> Image.Image:
    """Which pixels are opaque."""
    alpha = Image.new("L", (SIDE, SIDE), 0)
    draw = ImageDraw.Draw(alpha)
    (draw.ellipse if shape == "disc" else draw.rectangle)((16, 16, 80, 80), fill=255)
    return alpha


def icon(shape: str, gray: int) -> Image.Image:
    """One colour in all pixels: only alpha has a shape."""
    picture = Image.new("RGB", (SIDE, SIDE), (gray,) * 3)
    picture.putalpha(mask(shape))
    return picture


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels: np.ndarray, depth: int, colour_type: int, transparent: bytes = b"") -> bytes:
    """A PNG of rows of bytes as they are stored, with a `tRNS` chunk."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    width = pixels[0].nbytes * 8 // (depth * channels)
    header = struct.pack(">IIBBBBB", width, len(pixels), depth, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def deep_png(image: Image.Image, colour_type: int) -> bytes:
    return png((np.asarray(image).astype(">u2") * 257).reshape(SIDE, -1), 16, colour_type)


def keyed(image: Image.Image, depth: int) -> bytes:
    """A gray or RGB PNG without alpha in which one colour stands for transparent."""
    opaque = np.asarray(image)[..., 3] > 0
    gray = np.asarray(image.convert("L")).astype(int) * (2**depth - 1) // 255
    key = 2 ** (depth - 1)  # neither black nor white
    values = np.where(opaque, gray, key)
    if depth < 8:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., -depth:]
        return png(np.packbits(bits.reshape(SIDE, -1), axis=1), depth, 0, struct.pack(">H", key))
    return png(values.astype(">u2" if depth == 16 else "u1"), depth, 0, struct.pack(">H", key))


def keyed_rgb(image: Image.Image, depth: int) -> bytes:
    opaque = np.asarray(image)[..., 3:] > 0
    key = 2 ** (depth - 1)
    scaled = np.asarray(image)[..., :3].astype(int) * (257 if depth == 16 else 1)
    values = np.where(opaque, scaled, key).astype(">u2" if depth == 16 else "u1")
    return png(values.reshape(SIDE, -1), depth, 2, struct.pack(">HHH", key, key, key))


def palette_png(image: Image.Image) -> bytes:
    palette = Image.fromarray((np.asarray(image)[..., 3] == 0).astype(np.uint8), "P")
    palette.putpalette(image.getpixel((SIDE // 2, SIDE // 2))[:3] * 2)
    return encoded(palette, "PNG", transparency=1)


def palette_gif(image: Image.Image) -> bytes:
    palette = Image.fromarray((np.asarray(image)[..., 3] == 0).astype(np.uint8), "P")
    palette.putpalette(image.getpixel((SIDE // 2, SIDE // 2))[:3] * 2)
    return encoded(palette, "GIF", transparency=1)


def associated_tiff(image: Image.Image) -> bytes:
    pixels = encoded(image, "TIFF")
    marker = struct.pack("<HHI", 338, 3, 1)
    at = pixels.index(marker) + len(marker)
    return pixels[:at] + b"\1" + pixels[at + 1 :]


def alpha_bmp(image: Image.Image) -> bytes:
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, SIDE, -SIDE, 1, 32, 3, 0, 0, 0, 0, 0)
    header += masks + b"BGRs" + bytes(48)
    pixels = np.asarray(image)[..., [2, 1, 0, 3]].tobytes()
    at = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + header + pixels


ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "rgba png": lambda image: encoded(image, "PNG"),
    "la png": lambda image: encoded(image.convert("LA"), "PNG"),
    "16 bit rgba png": lambda image: deep_png(image, 6),
    "16 bit la png": lambda image: deep_png(image.convert("LA"), 4),
    "palette png": palette_png,
    "2 bit keyed png": lambda image: keyed(image, 2),
    "4 bit keyed png": lambda image: keyed(image, 4),
    "8 bit keyed png": lambda image: keyed(image, 8),
    "16 bit keyed png": lambda image: keyed(image, 16),
    "8 bit keyed rgb png": lambda image: keyed_rgb(image, 8),
    "16 bit keyed rgb png": lambda image: keyed_rgb(image, 16),
    "lossless webp": lambda image: encoded(image, "WEBP", lossless=True, exact=True),
    "lossy webp": lambda image: encoded(image, "WEBP", quality=60),
    "tiff": lambda image: encoded(image, "TIFF"),
    "la tiff": lambda image: encoded(image.convert("LA"), "TIFF"),
    "associated tiff": associated_tiff,
    "associated la tiff": lambda image: associated_tiff(image.convert("LA")),
    "jpeg 2000": lambda image: encoded(image, "JPEG2000"),
    "la jpeg 2000": lambda image: encoded(image.convert("LA"), "JPEG2000"),
    "gif": palette_gif,
    "avif": lambda image: encoded(image, "AVIF", quality=90),
    "heic": lambda image: encoded(image, "HEIF", quality=90),
    "bmp": alpha_bmp,
}


@pytest.mark.parametrize(("gray", "ground"), [(0, 255), (255, 0)], ids=["black", "white"])
@pytest.mark.parametrize("name", ENCODERS)
def test_icons_keep_their_shapes(name: str, gray: int, ground: int) -> None:
    batch = decode(*(ENCODERS[name](icon(shape, gray)) for shape in ("disc", "square")))
    assert batch.errors == [None, None]
    assert batch.has_alpha.all()
    for pixels, shape in zip(batch.pixels, ("disc", "square"), strict=True):
        expected = Image.composite(
            Image.new("RGB", (SIDE, SIDE), (gray,) * 3),
            Image.new("RGB", (SIDE, SIDE), (ground,) * 3),
            mask(shape),
        )
        shown = decode(encoded(expected, "PNG")).pixels[0]
        assert (pixels - shown).abs().mean() < 3, shape
    assert (batch.pixels[0] - batch.pixels[1]).abs().mean() > 10


@pytest.mark.parametrize("name", ["rgba png", "16 bit rgba png", "lossless webp", "tiff", "bmp"])
def test_hidden_colours_are_not_seen(name: str) -> None:
    photo, alpha = waves(SIDE, SIDE), mask("disc")
    hidden = [photo, Image.new("RGB", photo.size), Image.new("RGB", photo.size, "red")]
    images = [Image.composite(photo, colour, alpha) for colour in hidden]
    for image in images:
        image.putalpha(alpha)
    batch = decode(*map(ENCODERS[name], images))
    assert torch.equal(batch.pixels[1], batch.pixels[0])
    assert torch.equal(batch.pixels[2], batch.pixels[0])
    over_white = Image.composite(photo, Image.new("RGB", photo.size, "white"), alpha)
    assert torch.equal(batch.pixels[0], decode(encoded(over_white, "PNG")).pixels[0])


@pytest.mark.parametrize("name", ["rgba png", "16 bit rgba png", "lossless webp", "tiff", "bmp"])
def test_an_opaque_alpha_channel_changes_nothing(name: str) -> None:
    photo = waves(SIDE, SIDE)
    opaque = photo.copy()
    opaque.putalpha(255)
    batch = decode(ENCODERS[name](opaque), encoded(photo, "PNG"))
    assert not batch.has_alpha.any()
    assert torch.equal(batch.pixels[0], batch.pixels[1])


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    shown, has_alpha = without_alpha(Image.new("RGBA", (2, 1), (100, 50, 0, 128)))
    assert has_alpha
    assert np.abs(np.asarray(shown).astype(int) - [177, 152, 127]).max() <= 1


@pytest.mark.parametrize("colour", ["black", "white"])
def test_what_is_wholly_transparent_is_white(colour: str) -> None:
    image = Image.new("RGB", (9, 9), colour)
    image.putalpha(0)
    shown, has_alpha = without_alpha(image)
    assert has_alpha
    assert shown.getextrema() == ((255, 255),) * 3


def test_a_pale_picture_that_is_seen_over_white_stays_there() -> None:
    photo = waves(SIDE, SIDE).point(lambda level: 225 + level // 9)
    photo.putalpha(mask("disc"))
    shown, _ = without_alpha(photo)
    assert shown.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("quality", [10, 80])
def test_fringes_of_lossy_compression_do_not_make_a_white_logo_visible_over_white(
    quality: int,
) -> None:
    logo = Image.composite(
        Image.new("RGB", (SIDE, SIDE), "white"), Image.new("RGB", (SIDE, SIDE)), mask("square")
    )
    logo.putalpha(mask("square"))
    shown, _ = without_alpha(Image.open(io.BytesIO(encoded(logo, "AVIF", quality=quality))))
    assert max(shown.getpixel((0, 0))) < 20


def test_transparency_is_told_from_the_header() -> None:
    opaque, gray = waves(SIDE, SIDE), waves(SIDE, SIDE).convert("L")
    files = {
        "PNG": [encoded(opaque, "PNG"), encoded(gray, "PNG"), encoded(opaque.quantize(9), "PNG")],
        "WEBP": [encoded(opaque, "WEBP"), encoded(opaque, "WEBP", lossless=True)],
        "TIFF": [encoded(opaque, "TIFF"), encoded(opaque.convert("CMYK"), "TIFF")],
        "JPEG2000": [encoded(opaque, "JPEG2000"), encoded(gray, "JPEG2000", no_jp2=True)],
        "BMP": [encoded(opaque, "BMP"), encoded(gray, "BMP")],
        "JPEG": [encoded(opaque, "JPEG")],
    }
    for name, images in files.items():
        for data in images:
            assert not may_have_alpha(data, sniff_format(data) or ""), name


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparent_pictures_stand_upright(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = waves(60, 30)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}[orientation]
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    turned = encoded(image, file_format, exif=exif, **options)
    batch = decode(turned, encoded(image.transpose(turn), "PNG"))
    assert batch.width[0] == batch.width[1] and batch.height[0] == batch.height[1]
    assert torch.equal(batch.pixels[0], batch.pixels[1])


def test_neighbours_are_what_they_are_alone() -> None:
    photo = encoded(waves(), "JPEG")
    alone = decode(photo)
    icons = [encode(icon("disc", 0)) for encode in ENCODERS.values()]
    batch = decode(*(data for image in icons for data in (image, photo)))
    assert torch.equal(batch.pixels[1::2], alone.pixels.expand(len(icons), -1, -1, -1))
    assert not batch.has_alpha[1::2].any()


@pytest.mark.parametrize("gray", [0, 255])
def test_people_are_shown_what_is_embedded(gray: int) -> None:
    data = encoded(icon("disc", gray), "PNG")
    embedded = decode(data).pixels[0]
    small = thumbnail(data, SIDE)
    copies = augmented_copies(data, max_pixels=SIDE * SIDE)
    assert small and copies
    assert (decode(small).pixels[0] - embedded).abs().mean() < 3
    assert torch.equal(decode(copies["horizontal flip"]).pixels[0].flip(2), embedded)
