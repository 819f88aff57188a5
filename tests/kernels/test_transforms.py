"""What pixels tell of a copy; the pictures are drawn, so that each case is known."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from curator_assets.kernels.alignment import WHOLE
from curator_assets.kernels.transforms import Transform, find_transform

SIZE = (320, 240)
TURN = Image.Transpose


def drawn(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Discs and bars of many colours; another picture for another seed."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", size, tuple(rng.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for i in range(70):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        w, h = rng.integers(6, 40, 2)
        shape = draw.ellipse if i % 2 else draw.rectangle
        shape((x - w, y - h, x + w, y + h), fill=tuple(rng.integers(20, 230, 3).tolist()))
    return picture.filter(ImageFilter.GaussianBlur(1))


def found(first: Image.Image, second: Image.Image) -> Transform | None:
    return find_transform(np.asarray(first), np.asarray(second.convert("RGB")))


def area(box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


ONE = drawn(0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda p: p, Transform()),
        (lambda p: p.resize((200, 150)), Transform()),
        (lambda p: p.resize((320, 180)), Transform()),
        (lambda p: p.transpose(TURN.ROTATE_270), Transform(turned=90)),
        (lambda p: p.transpose(TURN.ROTATE_180), Transform(turned=180)),
        (lambda p: p.transpose(TURN.ROTATE_90), Transform(turned=270)),
        (ImageOps.mirror, Transform(is_mirrored=True)),
        (ImageOps.flip, Transform(turned=180, is_mirrored=True)),
        (lambda p: ImageEnhance.Brightness(p).enhance(1.08), Transform(tones="brighter")),
        (lambda p: ImageEnhance.Brightness(p).enhance(0.9), Transform(tones="darker")),
        (lambda p: ImageEnhance.Color(p).enhance(1.4), Transform(tones="other")),
        (ImageOps.grayscale, Transform(tones="grey")),
    ],
)
def test_what_was_done_is_told(change, expected):
    transform = found(ONE, change(ONE))
    assert transform is not None
    assert transform.largest_difference < 15
    assert (transform.box, transform.outer) == (WHOLE, WHOLE)
    told = (transform.turned, transform.is_mirrored, transform.tones, transform.is_plain)
    assert told == (expected.turned, expected.is_mirrored, expected.tones, False)


@pytest.mark.parametrize("cut", [(4, 3, 317, 236), (0, 0, 288, 216), (90, 60, 290, 210)])
@pytest.mark.parametrize("scale", [1, 0.6])
def test_where_a_crop_was_cut_is_told_however_it_was_scaled(cut, scale):
    part = ONE.crop(cut)
    part = part.resize((round(part.width * scale), round(part.height * scale)))
    wanted = [edge / side for edge, side in zip(cut, (*SIZE, *SIZE), strict=True)]
    transform, back = found(ONE, part), found(part, ONE)
    assert transform.outer == back.box == WHOLE
    for box in (transform.box, back.outer):
        assert np.allclose(box, wanted, atol=0.004)
    assert not back.has_border


def test_a_border_is_told_from_more_of_a_picture():
    framed = found(ONE, ImageOps.expand(ONE, 24, "white"))
    assert framed.has_border
    assert area(framed.outer) == pytest.approx(320 * 240 / (368 * 288), abs=0.02)


def test_a_patch_is_a_difference_or_makes_it_silent():
    patched = ONE.copy()
    ImageDraw.Draw(patched).rectangle((200, 180, 240, 200), fill="white")
    transform = found(ONE, patched)
    assert transform is None or transform.largest_difference > 30


@pytest.mark.parametrize("seed", range(1, 6))
def test_of_different_pictures_nothing_is_said(seed):
    assert found(ONE, drawn(seed)) is None
    assert found(ONE, ONE.rotate(7)) is None


def test_a_picture_that_is_its_own_mirror_image_is_not_called_mirrored():
    half = ONE.crop((0, 0, 160, 240))
    symmetric = Image.new("RGB", SIZE)
    symmetric.paste(half, (0, 0))
    symmetric.paste(ImageOps.mirror(half), (160, 0))
    assert found(symmetric, ImageOps.mirror(symmetric)) == found(symmetric, symmetric)
    assert not found(symmetric, symmetric).is_mirrored


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (7, 5), SIZE])
def test_of_pictures_of_one_colour_no_more_is_said_than_that_they_may_be_the_same(size):
    red = Image.new("RGB", SIZE, "red")
    assert found(red, Image.new("RGB", size, "red")) == Transform(is_plain=True)
    assert found(Image.new("RGB", size, "red"), red) == Transform(is_plain=True)
    assert found(red, Image.new("RGB", size, "blue")) is None
    assert found(ONE, Image.new("RGB", size, "red")) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (7, 5)])
def test_of_tiny_pictures_nothing_is_said(size):
    assert found(ONE, ONE.resize(size)) is None
    assert found(drawn(1, (9, 9)).resize(size), ONE.resize(size)) is None
