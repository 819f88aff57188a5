import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from encoded_images import encoded, make_decoder, waves
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transform import image_transform
from PIL import Image, ImageOps

from curator_assets.kernels.complete_files import is_complete
from curator_assets.kernels.decode import ImageDecoder
from curator_assets.kernels.decode_memory import most_bytes
from curator_assets.kernels.decode_on_cpu import CpuDecoder
from curator_assets.kernels.image_format import (
    DecodeError,
    sniff_format,
    why_undecodable,
)
from curator_assets.kernels.resize import Preprocessing

CLIP = Preprocessing(
    size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    interpolation="bicubic",
    resize_mode="shortest",
    fill_color=0,
)
# 0-255 values come out as they are.
RAW = Preprocessing(64, (0, 0, 0), (1 / 255,) * 3, "bicubic", "shortest", 0)

FORMATS = [
    *("jpeg", "progressive", "png", "rgba png", "webp", "rgba webp", "bmp", "tiff", "jpeg 2000"),
    *("gif", "avif", "heic"),
]

# Files that Pillow refuses and nvImageCodec decodes on CPU.
MALFORMED_THAT_DECODE = {
    "002_unknown_compression_method.png",
    "007_rgba32abf.bmp",
    "009_badheadersize.bmp",
    "015_chunk_no_fctl.png",
    "021_rgb32-111110.bmp",
    "028_png_decompression_dos.png",
    "029_hopper_unknown_pixel_mode.tif",
    "042_rgb32bf.bmp",
}


@pytest.fixture(scope="module")
def decoder(device: str) -> ImageDecoder:
    return make_decoder(RAW, device)


@pytest.fixture(scope="module")
def flowers(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "flowers").glob("*/*.jpg"))[::9]


def with_alpha(image: Image.Image) -> Image.Image:
    result = image.copy()
    result.putalpha(Image.linear_gradient("L").resize(image.size))
    return result


def over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def variants() -> dict[str, tuple[str, bytes]]:
    image = waves()
    gray, palette, cmyk = image.convert("L"), image.quantize(64), image.convert("CMYK")
    return {
        "jpeg": ("jpeg", encoded(image, "JPEG")),
        "progressive": ("jpeg", encoded(image, "JPEG", progressive=True)),
        "gray jpeg": ("jpeg", encoded(gray, "JPEG")),
        "cmyk jpeg": ("jpeg", encoded(cmyk, "JPEG")),
        "png": ("png", encoded(image, "PNG")),
        "rgba png": ("png", encoded(with_alpha(image), "PNG")),
        "la png": ("png", encoded(with_alpha(gray), "PNG")),
        "palette png": ("png", encoded(palette, "PNG", transparency=3)),
        "bilevel png": ("png", encoded(image.convert("1"), "PNG")),
        "webp": ("webp", encoded(image, "WEBP")),
        "rgba webp": ("webp", encoded(with_alpha(image), "WEBP")),
        "animated webp": (
            "webp",
            encoded(image, "WEBP", save_all=True, append_images=[ImageOps.invert(image)]),
        ),
        "bmp": ("bmp", encoded(image, "BMP")),
        "palette bmp": ("bmp", encoded(palette, "BMP")),
        "tiff": ("tiff", encoded(image, "TIFF")),
        "lzw tiff": ("tiff", encoded(image, "TIFF", compression="tiff_lzw")),
        "cmyk tiff": ("tiff", encoded(cmyk, "TIFF")),
        "jpeg 2000": ("jpeg2000", encoded(image, "JPEG2000")),
        "rgba jpeg 2000": ("jpeg2000", encoded(with_alpha(image), "JPEG2000")),
        "codestream": ("jpeg2000", encoded(image, "JPEG2000", no_jp2=True)),
        "gif": ("gif", encoded(image, "GIF")),
        "animated gif": (
            "gif",
            encoded(image, "GIF", save_all=True, append_images=[ImageOps.invert(image)]),
        ),
        "avif": ("avif", encoded(image, "AVIF")),
        "heic": ("heic", encoded(image, "HEIF")),
    }


def test_each_format_decodes_to_what_pillow_makes_of_it(decoder: ImageDecoder) -> None:
    cases = variants()
    batch = decoder([data for _, data in cases.values()])
    assert batch.errors == [None] * len(cases)
    assert batch.format == [name for name, _ in cases.values()]
    assert set(zip(batch.width.tolist(), batch.height.tolist(), strict=True)) == {(120, 80)}
    pillow = [over_white(Image.open(io.BytesIO(data))) for _, data in cases.values()]
    expected = decoder([encoded(image, "PNG") for image in pillow])
    tolerance = 0 if decoder.device.type == "cpu" else 4
    for name, got, want in zip(cases, batch.pixels, expected.pixels, strict=True):
        assert (got - want).abs().max() <= tolerance, name


def test_sixteen_bit_gray_is_scaled(decoder: ImageDecoder) -> None:
    gray = waves().convert("L")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    batch = decoder([encoded(gray, "PNG"), encoded(deep, "PNG"), encoded(deep, "TIFF")])
    assert torch.equal(batch.pixels[1], batch.pixels[0])
    assert torch.equal(batch.pixels[2], batch.pixels[0])


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(waves(), file_format, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    batch = make_decoder(RAW)([data, encoded(upright, "PNG")])
    assert (batch.width[0], batch.height[0]) == upright.size
    assert torch.equal(batch.pixels[0], batch.pixels[1])


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_photos_of_every_orientation_show_one_picture(
    shared_data: Path, device: str, shape: str
) -> None:
    files = sorted((shared_data / "exif_orientation").glob(f"{shape}_*.jpg"))
    batch = make_decoder(RAW, device)([file.read_bytes() for file in files])
    assert len(batch.ok) == len(files) == 9
    assert len(set(zip(batch.width.tolist(), batch.height.tolist(), strict=True))) == 1
    # The files were each compressed anew, so the pictures are equal up to that.
    assert (batch.pixels - batch.pixels[:1]).abs().mean(dim=(1, 2, 3)).max() < 3


@pytest.mark.parametrize(
    "data",
    [
        encoded(waves(64, 64), "ICO"),
        encoded(waves(64, 64), "PPM"),
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    ],
    ids=["ico", "pnm", "svg"],
)
def test_known_formats_that_are_not_decoded_are_named(
    decoder: ImageDecoder, data: bytes, request: pytest.FixtureRequest
) -> None:
    batch = decoder([data])
    assert batch.errors == ["unsupported format"]
    assert batch.format == [request.node.callspec.id.split("-")[-1]]


def test_reasons_are_exactly_these() -> None:
    assert [str(reason) for reason in DecodeError] == [
        "empty",
        "truncated",
        "not an image",
        "unsupported format",
        "too many pixels",
        "corrupt",
        "decoder crashed",
        "decoder hung",
        "out of memory",
    ]


def test_failed_images_leave_gaps_in_order(decoder: ImageDecoder) -> None:
    png, jpeg = encoded(waves(), "PNG"), encoded(waves(), "JPEG")
    batch = decoder([b"", png, b"hello", jpeg[: len(jpeg) // 2], jpeg])
    assert batch.errors == ["empty", None, "not an image", "truncated", None]
    assert batch.format == [None, "png", None, "jpeg", "jpeg"]
    assert batch.ok.tolist() == [1, 4]
    assert batch.ok.dtype == np.int64
    assert batch.width.tolist() == [0, 120, 0, 0, 120]
    assert batch.height.tolist() == [0, 80, 0, 0, 80]
    assert np.isnan(batch.sharpness).tolist() == [True, False, True, True, False]
    assert np.isnan(batch.mean_luminance).tolist() == [True, False, True, True, False]
    assert batch.pixels.shape == (2, 3, 64, 64)


@pytest.mark.parametrize("images", [[], [b""], [b"\xff\xd8\xff", b"text"]])
def test_a_batch_may_hold_no_image(decoder: ImageDecoder, images: list[bytes]) -> None:
    batch = decoder(images)
    assert batch.pixels.shape == (0, 3, 64, 64)
    assert batch.ok.shape == (0,)
    assert len(batch.errors) == len(batch.width) == len(batch.sharpness) == len(images)


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_short_is_truncated(decoder: ImageDecoder, name: str, fraction: float) -> None:
    data = variants()[name][1]
    assert decoder([data[: int(len(data) * fraction)]]).errors == ["truncated"]


@pytest.mark.parametrize("name", [*FORMATS, "lzw tiff", "codestream", "animated gif"])
def test_a_whole_file_is_never_called_truncated(name: str) -> None:
    data = variants()[name][1]
    assert why_undecodable(data, sniff_format(data)) == DecodeError.CORRUPT


@given(st.lists(st.sampled_from([b"\xff\xda", b"\xff\xd9", b"\xff", b"x"]), max_size=8))
def test_a_jpeg_is_complete_if_an_end_follows_its_last_scan(parts: list[bytes]) -> None:
    data = b"".join(parts)
    last_scan = data.rfind(b"\xff\xda")
    assert is_complete(data, "jpeg") == (last_scan >= 0 and b"\xff\xd9" in data[last_scan:])


def test_a_damaged_header_is_corrupt(decoder: ImageDecoder) -> None:
    data = bytearray(encoded(waves(), "PNG"))
    data[24] = 77  # bit depth
    assert decoder([bytes(data)]).errors == ["corrupt"]


@pytest.mark.parametrize("side", [0, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("places", [[16], [20], [16, 20]])
def test_sides_that_no_image_has_are_corrupt(
    decoder: ImageDecoder, places: list[int], side: int
) -> None:
    data = bytearray(encoded(waves(), "PNG"))
    for at in places:
        data[at : at + 4] = side.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert decoder([bytes(data)]).errors == ["corrupt"]


def test_an_image_is_refused_by_its_header_size(device: str) -> None:
    decoder = make_decoder(RAW, device, max_pixels=120 * 80)
    bomb = bytearray(encoded(waves(), "BMP"))
    bomb[18:26] = (60_000).to_bytes(4, "little") * 2
    batch = decoder([bytes(bomb), encoded(waves(), "PNG"), encoded(waves(121, 80), "PNG")])
    assert batch.errors == ["too many pixels", None, "too many pixels"]


def test_less_memory_than_one_image_may_take_is_refused() -> None:
    with pytest.raises(ValueError, match=f"at least {most_bytes(10_000)}.* got 1000"):
        make_decoder(RAW, max_pixels=10_000, max_decoding_bytes=1000)


def test_more_images_than_the_batch_size_are_refused() -> None:
    with pytest.raises(ValueError, match="at most batch_size=2, got 3"):
        make_decoder(RAW, batch_size=2)([b""] * 3)


@pytest.mark.parametrize("change", [{"interpolation": "nearest"}, {"resize_mode": "crop"}])
def test_unknown_preprocessing_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(change.values()))):
        Preprocessing(**(vars(RAW) | change))


def test_malformed_files_cost_only_themselves(
    shared_data: Path, decoder: ImageDecoder, flowers: list[Path]
) -> None:
    photos = [file.read_bytes() for file in flowers[:15]]
    files = sorted((shared_data / "malformed").iterdir())
    images, is_photo = [], []
    for i, file in enumerate(files):
        images.append(file.read_bytes())
        is_photo.append(False)
        if i % 3 == 0:
            images.append(photos[i // 3])
            is_photo.append(True)
    before, mixed, after = decoder(photos), decoder(images), decoder(photos)

    good = np.flatnonzero(is_photo)
    assert all(mixed.errors[i] is None for i in good)
    shown = mixed.pixels[np.flatnonzero(np.isin(mixed.ok, good))]
    assert torch.equal(shown, before.pixels)
    assert torch.equal(after.pixels, before.pixels)
    outcome = {
        file.name: mixed.errors[i]
        for file, i in zip(files, np.flatnonzero(~np.array(is_photo)), strict=True)
    }
    assert outcome["006_truncated_jpeg.jpg"] == "truncated"
    assert outcome["010_decompression_bomb.gif"] == "too many pixels"
    assert outcome["027_syntax_num_frames_zero.png"] == "corrupt"
    assert outcome["035_truncated_image.png"] == "truncated"
    assert outcome["040_reallybig.bmp"] == "too many pixels"
    if decoder.device.type == "cpu":
        decoded = {name for name, reason in outcome.items() if reason is None}
        assert decoded == MALFORMED_THAT_DECODE


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A file cut short, cut with an end marker put back, or with some bytes overwritten."""
    kind, at = rng.integers(3), int(rng.integers(len(data) // 4, len(data) - 3))
    if kind < 2:
        return data[:at] + (b"\xff\xd9" if kind else b"")
    changed = bytearray(data)
    for place in rng.integers(2, len(data), 4):
        changed[place] = rng.integers(256)
    return bytes(changed)


def test_what_is_refused_does_not_depend_on_the_device(device: str, flowers: list[Path]) -> None:
    rng = np.random.default_rng(0)
    images = [damaged(file.read_bytes(), rng) for file in flowers * 4]
    options = {"batch_size": len(images)}
    batch = make_decoder(RAW, device, **options)(images)
    expected = make_decoder(RAW, **options)(images)
    assert batch.errors == expected.errors
    assert 0 < len(batch.ok) < len(images)


def test_batches_begun_together_are_those_decoded_alone(
    decoder: ImageDecoder, flowers: list[Path]
) -> None:
    photos = [file.read_bytes() for file in flowers[:12]] + [b"", encoded(waves(), "PNG")]
    batches = [photos[:5], photos[5:], photos[3:9], [], photos]
    begun = [decoder.begin(images) for images in batches]
    together = [finish() for finish in begun]
    for images, batch in zip(batches, together, strict=True):
        alone = decoder(images)
        assert alone.errors == batch.errors
        assert torch.equal(alone.pixels, batch.pixels)
        assert np.array_equal(alone.sharpness, batch.sharpness, equal_nan=True)


def test_an_image_does_not_depend_on_its_neighbours(device: str, flowers: list[Path]) -> None:
    images = [file.read_bytes() for file in flowers[:16]]
    decoder = make_decoder(CLIP, device)
    together, reverse = decoder(images), decoder(images[::-1])
    assert torch.equal(reverse.pixels.flip(0), together.pixels)
    assert np.array_equal(reverse.sharpness[::-1], together.sharpness)
    for i, data in enumerate(images):
        alone = decoder([data])
        assert torch.equal(alone.pixels[0], together.pixels[i])
        assert alone.sharpness[0] == together.sharpness[i]
        assert alone.mean_luminance[0] == together.mean_luminance[i]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (4000, 10)])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_extreme_shapes_decode(size: tuple[int, int], resize_mode: str) -> None:
    decoder = make_decoder(Preprocessing(**(vars(RAW) | {"resize_mode": resize_mode})))
    batch = decoder([encoded(Image.new("RGB", size, (10, 20, 30)), "PNG")])
    assert batch.errors == [None]
    centre = batch.pixels[0, :, 31, 31].tolist()
    assert centre == pytest.approx([10, 20, 30])


def test_luminance_is_rec_601() -> None:
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    batch = make_decoder(RAW)([encoded(Image.new("RGB", (9, 7), c), "PNG") for c in colours])
    assert batch.mean_luminance == pytest.approx([0, 1, 0.299, 0.587, 0.114])
    assert batch.sharpness.tolist() == [0] * 5


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    image = Image.fromarray(noise)
    gray = noise.astype(float)
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    laplacian -= 4 * gray[1:-1, 1:-1]
    assert make_decoder(RAW)([encoded(image, "PNG")]).sharpness == pytest.approx(laplacian.var())


def test_blur_lowers_sharpness(decoder: ImageDecoder, flowers: list[Path]) -> None:
    photo = Image.open(flowers[0])
    blurred = photo.reduce(8).resize(photo.size)
    sharp, soft = decoder([encoded(photo, "PNG"), encoded(blurred, "PNG")]).sharpness
    assert soft < sharp / 4


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_pixels_agree_with_open_clip(
    device: str, flowers: list[Path], resize_mode: str, interpolation: str
) -> None:
    change = {"resize_mode": resize_mode, "interpolation": interpolation, "fill_color": 77}
    preprocessing = Preprocessing(**(vars(CLIP) | change))
    transform = image_transform(
        image_size=224, is_train=False, mean=CLIP.mean, std=CLIP.std, **change
    )
    files = flowers[:12]
    batch = make_decoder(preprocessing, device)([file.read_bytes() for file in files])
    expected = torch.stack([transform(Image.open(file)) for file in files])
    levels = (batch.pixels.cpu() - expected).abs() * torch.tensor(CLIP.std).view(3, 1, 1) * 255
    # Pillow rounds and clips to 8 bits between its two passes: a few levels at hard edges.
    assert levels.mean() < 0.3
    assert (levels > 2.5).float().mean() < 0.001


def test_pixels_agree_with_clips_own_tensors(shared_data: Path, device: str) -> None:
    folder = shared_data / "clip_golden"
    golden = np.load(folder / "openai_vit_b_32.npz")
    files = [folder / "images" / f"{name}.jpg" for name in golden["names"]]
    batch = make_decoder(CLIP, device)([file.read_bytes() for file in files])
    difference = batch.pixels.cpu() - torch.from_numpy(golden["preprocessed"])
    levels = difference.abs() * torch.tensor(CLIP.std).view(3, 1, 1) * 255
    assert levels.mean() < 0.3
    assert (levels > 2.5).float().mean() < 0.001


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MemoryError(), "out of memory"), (RuntimeError("unforeseen"), "corrupt")],
)
def test_whatever_is_raised_over_an_image_costs_that_image(monkeypatch, error, reason) -> None:
    show = CpuDecoder._show

    def raises(self: CpuDecoder, row: int, *rest: object) -> None:
        show(self, row, *rest)
        if row == 1:
            raise error

    decoder = make_decoder(RAW)
    images = [encoded(waves(), "PNG"), encoded(waves(), "JPEG"), encoded(waves(), "BMP")]
    expected = decoder(images)
    monkeypatch.setattr(CpuDecoder, "_show", raises)
    found = decoder(images)
    assert found.errors == [None, reason, None]
    assert torch.equal(found.pixels, expected.pixels[[0, 2]])
