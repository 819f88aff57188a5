import io

import numpy as np
import pytest
from PIL import Image

from curator_assets.kernels.augment import TRANSFORMS, augmented_copies


def picture(width: int = 200, height: int = 120) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    waves = [110 + 100 * np.sin(x / 9 + y / 14 + phase) for phase in (0, 2, 4)]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def copies_of(data: bytes) -> dict[str, bytes] | None:
    return augmented_copies(data, max_pixels=1_000_000)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def copies() -> dict[str, Image.Image]:
    return {name: opened(data) for name, data in copies_of(encoded(picture())).items()}


def test_there_is_a_copy_a_transform_of_this_size(copies):
    assert {name: copy.size for name, copy in copies.items()} == {
        "JPEG quality 85": (200, 120),
        "JPEG quality 60": (200, 120),
        "resize to 75 %": (150, 90),
        "resize to 50 %": (100, 60),
        "crop by 2 %": (196, 118),
        "crop by 5 %": (190, 114),
        "crop by 10 %": (180, 108),
        "brightness +10 %": (200, 120),
        "saturation +30 %": (200, 120),
        "grayscale": (200, 120),
        "horizontal flip": (200, 120),
    }
    assert list(copies) == list(TRANSFORMS)


@pytest.mark.parametrize("quality", [85, 60])
def test_re_encoded_copies_have_the_quantisation_of_that_quality(copies, quality):
    copy = copies[f"JPEG quality {quality}"]
    expected = opened(encoded(picture(), "JPEG", quality=quality))
    assert copy.format == "JPEG"
    assert copy.quantization == expected.quantization


def test_resized_copies_show_the_whole_picture(copies):
    enlarged = copies["resize to 50 %"].resize((200, 120), Image.Resampling.LANCZOS)
    assert np.abs(pixels(enlarged) - pixels(picture())).mean() < 2


def test_cropped_copies_are_the_middle(copies):
    assert np.array_equal(copies["crop by 10 %"], pixels(picture())[6:114, 10:190])
    assert np.array_equal(copies["crop by 5 %"], pixels(picture())[3:117, 5:195])
    assert np.array_equal(copies["crop by 2 %"], pixels(picture())[1:119, 2:198])


def test_brightened_copies_are_a_tenth_brighter(copies):
    expected = 1.1 * pixels(picture())
    assert np.abs(pixels(copies["brightness +10 %"]) - expected).max() <= 1


def test_saturated_copies_lie_further_from_gray(copies):
    def spread(image):
        return np.ptp(pixels(image), axis=-1).mean()

    assert spread(copies["saturation +30 %"]) == pytest.approx(1.3 * spread(picture()), rel=0.1)


def test_gray_copies_hold_the_luma(copies):
    assert np.array_equal(copies["grayscale"].convert("L"), picture().convert("L"))


def test_flipped_copies_are_mirrored(copies):
    assert np.array_equal(copies["horizontal flip"], pixels(picture())[:, ::-1])


def test_equal_images_give_equal_bytes():
    assert copies_of(encoded(picture())) == copies_of(encoded(picture(), "BMP"))


def test_copies_are_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = picture().transpose(Image.Transpose.ROTATE_90)
    rotated = copies_of(encoded(stored, "PNG", exif=exif))
    assert rotated == copies_of(encoded(picture()))


def test_sixteen_bit_gray_is_scaled_not_clipped():
    gray = picture().convert("L")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    assert copies_of(encoded(deep)) == copies_of(encoded(gray))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "RGBA", "1"])
def test_other_modes_become_rgb(mode):
    data = encoded(picture().convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    flipped = opened(copies_of(data)["horizontal flip"])
    assert flipped.mode == "RGB"
    expected = np.asarray(opened(data).convert("RGB"))[:, ::-1]
    assert np.array_equal(flipped, expected)


def test_an_image_of_one_pixel_has_copies_of_one_pixel():
    copies = copies_of(encoded(picture(1, 1)))
    assert {opened(copy).size for copy in copies.values()} == {(1, 1)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        encoded(picture(), "JPEG")[:900],
        encoded(picture())[:900],
        encoded(Image.new("F", (9, 9)), "TIFF"),
    ],
    ids=["empty", "text", "cut jpeg", "cut png", "floats"],
)
def test_what_cannot_be_opened_has_no_copies(data):
    assert copies_of(data) is None
