from pathlib import Path

import numpy as np
import pytest
import torch
from encoded_images import RAW, decode, encoded, waves
from PIL import Image

from curator_assets.kernels.constant_rows import (
    N_COLUMNS,
    N_ROWS,
    constant_rows_fraction,
    constant_rows_fractions,
)
from curator_assets.kernels.lane import Lane
from curator_assets.kernels.resize_with_dali import DaliResize

SHAPES = [(1, 1), (7, 3), (64, 64), (100, 50), (255, 63), (256, 64), (257, 65), (999, 2), (3, 999)]


def cut(data: bytes, share: float) -> bytes:
    """A JPEG without the end of its scan, but with its end marker, as repair tools make them."""
    scan = data.rfind(b"\xff\xda")
    return data[: scan + int((len(data) - scan) * share)] + b"\xff\xd9"


def half_constant(height: int, width: int) -> np.ndarray:
    """Noise above, and rows of one colour each below."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise[height // 2 :] = noise[height // 2 :, :1]
    return noise


def test_rows_count_from_the_bottom_up_to_the_first_that_varies() -> None:
    image = half_constant(256, 64)
    assert constant_rows_fraction(image) == 0.5
    image[200, 10] ^= 1
    assert constant_rows_fraction(image) == 55 / 256
    image[255, 10, 2] ^= 1
    assert constant_rows_fraction(image) == 0
    assert constant_rows_fraction(image[::-1]) == 0


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (300, 200), (5000, 1)])
def test_an_image_of_one_colour_is_constant_throughout(shape: tuple[int, int]) -> None:
    assert constant_rows_fraction(np.full((*shape, 3), 7, np.uint8)) == 1


def test_both_devices_graphs_agree_to_the_bit() -> None:
    images = [half_constant(*shape) for shape in SHAPES]
    resize = DaliResize(RAW, device_id=None, batch_size=len(images), n_threads=1)
    _, sampled = resize(images, Lane())
    assert sampled.shape == (len(images), N_ROWS, N_COLUMNS, 3)
    expected = torch.tensor([constant_rows_fraction(image) for image in images])
    assert torch.equal(constant_rows_fractions(sampled), expected)
    assert expected[2:7].sub(0.5).abs().max() < 0.01


def test_photographs_have_none_and_cut_ones_what_is_missing(shared_data: Path) -> None:
    photos = [f.read_bytes() for f in sorted((shared_data / "flowers").glob("*/*.jpg"))[::9]][:20]
    whole, halves = decode(*photos), decode(*(cut(data, 0.5) for data in photos))
    assert (whole.constant_rows_fraction < 0.01).all()  # one has a dark edge of a row or two
    missing = halves.constant_rows_fraction[halves.ok]
    assert len(missing) > 10
    assert (missing > 0.2).all() and (missing < 0.8).all()


def test_it_is_measured_on_the_picture_that_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    image = waves()
    image.paste("navy", (0, 0, 120, 20))
    batch = decode(encoded(image, "PNG"), encoded(image, "PNG", exif=exif), b"")
    assert batch.constant_rows_fraction[:2] == pytest.approx([0, 0.25])
    assert np.isnan(batch.constant_rows_fraction[2])
