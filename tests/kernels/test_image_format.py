import struct

import numpy as np
import pytest
from encoded_images import decode, encoded, waves
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from curator_assets.kernels.image_format import sniff_format, why_undecodable

SVG = "<svg xmlns='http://www.w3.org/2000/svg'/>"
DOCTYPE = "<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'svg11.dtd' [\n<!ENTITY a 'b>'>\n]>"


@pytest.mark.parametrize(
    "text",
    [
        SVG,
        "\ufeff" + SVG,
        "\n \t" + SVG,
        "<?xml version='1.0'?>\n" + SVG,
        "<!-- " + "made by a drawing program " * 2000 + "-->" + SVG,
        "<?xml version='1.0'?><!-- a --><!-- b -->" + DOCTYPE + SVG,
        "<!doctype svg>" + SVG,
        "<svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>",
        "<svg>",
    ],
)
def test_an_svg_is_known_by_its_root(text: str) -> None:
    for data in (text.encode(), text.lstrip("\ufeff").encode("utf-16")):
        assert sniff_format(data) == "svg"
        assert decode(data).errors == ["unsupported format"]


@pytest.mark.parametrize(
    "text",
    [
        f"<!DOCTYPE html><html><body>{SVG}</body></html>",
        f"<html><head><link rel=icon href='data:image/svg+xml,{SVG}'>",
        f"<!-- a page {SVG} --><html>{SVG}</html>",
        f"<!-- a comment without an end {SVG}",
        f"<?xml version='1.0' {SVG}",
        f"404 not found {SVG}",
        "<svgfile>",
        "<",
        '{"error": "rate limited"}',
    ],
)
def test_a_page_is_no_image_whatever_stands_in_it(text: str) -> None:
    assert sniff_format(text.encode()) is None
    assert decode(text.encode()).errors == ["not an image"]


@given(st.lists(st.sampled_from(b"< ? !-- --> [ ] > svg !DOCTYPE a".split())))
def test_any_markup_is_one_or_the_other(parts: list[bytes]) -> None:
    assert sniff_format(b"<" + b"".join(parts)) in (None, "svg")


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        ([b"avif", b"mif1"], "avif"),
        ([b"mif1", b"miaf", b"avif"], "avif"),
        ([b"mif1", b"miaf", b"heic"], "heic"),
        ([b"heic"], "heic"),
        ([b"isom", b"mp42"], None),
    ],
)
def test_brands_tell_avif_from_heic(brands: list[bytes], name: str | None) -> None:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    assert sniff_format(struct.pack(">I", 4 + len(body)) + body + b"avif") == name


def with_frame(marker: int, bits: int) -> bytes:
    """A whole JPEG whose frame header announces another kind or depth."""
    data = bytearray(encoded(waves(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    return bytes(data)


@pytest.mark.parametrize(
    ("marker", "bits"), [(0xC1, 12), (0xF7, 8), (0xC5, 8), (0xC7, 8), (0xCB, 8)]
)
def test_a_jpeg_of_a_rare_kind_is_unsupported_not_corrupt(marker: int, bits: int) -> None:
    data = with_frame(marker, bits)
    assert decode(data).errors == ["unsupported format"]
    assert decode(data[: len(data) // 2]).errors == ["truncated"]


def test_a_usual_jpeg_that_no_decoder_reads_is_corrupt() -> None:
    assert why_undecodable(encoded(waves(), "JPEG"), "jpeg") == "corrupt"
    assert why_undecodable(encoded(waves(), "TIFF"), "tiff") == "corrupt"


def with_tag(tag: int, value: int) -> bytes:
    """A TIFF, one of whose tags says something else."""
    data = bytearray(encoded(waves(), "TIFF"))
    at = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
    data[at : at + 2] = struct.pack("<H", value)
    return bytes(data)


@pytest.mark.parametrize("compression", [6, 99, 34712, 34925, 50001, 50002])
def test_a_tiff_of_a_rare_compression_is_unsupported_not_corrupt(compression: int) -> None:
    assert decode(with_tag(259, compression)).errors == ["unsupported format"]


@pytest.mark.parametrize("white", [1, 255])
def test_a_tiff_of_floats_is_refused_as_its_white_is_unknown(white: int) -> None:
    levels = np.asarray(waves().convert("L")).astype(np.float32) * (white / 255)
    assert decode(encoded(Image.fromarray(levels), "TIFF")).errors == ["unsupported format"]


def tiff_of(pixels: np.ndarray, photometric: int, *extra: int) -> bytes:
    """An uncompressed TIFF of channels beside each other, of 8 or 16 bits."""
    height, width, channels = pixels.shape
    tags = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [8 * pixels.itemsize] * channels),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8]),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [pixels.nbytes]),
    } | ({338: (3, list(extra))} if extra else {})
    data = b"II*\0" + struct.pack("<I", 8 + pixels.nbytes) + pixels.tobytes()
    entries, beyond = struct.pack("<H", len(tags)), b""
    after = len(data) + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}{'HI'[kind == 4]}", *values)
        if len(packed) > 4:
            beyond, packed = beyond + packed, struct.pack("<I", after + len(beyond))
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return data + entries + bytes(4) + beyond


def test_tiffs_that_one_library_mistakes_are_read_by_the_other() -> None:
    gray = np.asarray(waves().convert("L"))
    opaque = np.full_like(gray, 255)
    cmyk = np.asarray(waves().convert("CMYK"))
    same = [
        (tiff_of(np.dstack([gray, opaque]), 1, 2), waves().convert("L")),
        (tiff_of(np.dstack([gray, opaque]), 1, 0), waves().convert("L")),
        (encoded(waves().convert("1"), "TIFF"), waves().convert("1")),
        (tiff_of(cmyk.astype("<u2") * 257, 5), waves().convert("CMYK").convert("RGB")),
        (tiff_of(np.asarray(waves()).astype("<u2") * 257, 2), waves()),
    ]
    batch = decode(*(data for data, _ in same))
    assert batch.errors == [None] * len(same)
    assert not batch.has_alpha.any()
    expected = decode(*(encoded(image, "PNG") for _, image in same))
    assert (batch.pixels - expected.pixels).abs().max() <= 2


def test_lab_keeps_its_white_point() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    stored = ImageCms.applyTransform(waves(), to_lab)
    assert stored is not None
    batch = decode(encoded(stored, "TIFF"), encoded(waves(), "PNG"))
    assert (batch.pixels[0] - batch.pixels[1]).abs().mean() < 3


def test_sixteen_bit_rgba_in_tiff_is_transparent() -> None:
    rgba = np.dstack([np.asarray(waves()), np.zeros((80, 120), np.uint8)])
    batch = decode(tiff_of(rgba.astype("<u2") * 257, 2, 2))
    assert batch.has_alpha.tolist() == [True]
    assert (batch.pixels == 255).all()


@pytest.mark.parametrize("channels", [2, 5])
def test_a_tiff_of_odd_depth_and_channels_is_not_corrupt(channels: int) -> None:
    deep = np.zeros((8, 8, channels), "<u8" if channels == 5 else "<u2")
    assert decode(tiff_of(deep, 1, *[0] * (channels - 1))).errors == ["unsupported format"]
