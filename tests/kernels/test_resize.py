import numpy as np
import pytest
import torch
from PIL import Image

from curator_assets.demo.photos import crops
from curator_assets.kernels import resize
from curator_assets.kernels.lane import Lane
from curator_assets.kernels.resize import Preprocessing, TorchResize
from curator_assets.kernels.resize_with_dali import DaliResize


def preprocessing(resize_mode: str, interpolation: str = "bicubic") -> Preprocessing:
    return Preprocessing(64, (0, 0, 0), (1, 1, 1), interpolation, resize_mode, 90)


def photos() -> list[np.ndarray]:
    sizes = [(200, 150), (150, 200), (90, 301), (64, 64), (40, 30), (65, 64)]
    images = [crop.image for crop in crops()[:60:10]]
    return [np.array(i.resize(size)) for i, size in zip(images, sizes, strict=True)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_dali_and_torch_show_the_same_picture(resize_mode: str, interpolation: str) -> None:
    wanted = preprocessing(resize_mode, interpolation)
    images = photos()
    dali, _ = DaliResize(wanted, device_id=None, batch_size=8, n_threads=2)(images, Lane())
    resize = TorchResize(wanted)
    for image, theirs in zip(images, dali, strict=True):
        off = (resize(image).float() - theirs.float()).abs()
        assert off.mean() < 0.6
        assert off.max() <= 24


def test_on_cpu_pixels_are_those_of_pillow() -> None:
    for image in photos():
        resized = TorchResize(preprocessing("squash"))(image)
        pillow = np.array(Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC))
        off = (resized.permute(1, 2, 0).int() - torch.from_numpy(pillow).int()).abs()
        assert off.max() <= 12
        assert off.float().mean() < 1


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(1, 700), (700, 1), (3, 905), (905, 3), (300, 70), (70, 300)])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_what_is_cropped_first_looks_as_if_it_were_resized_whole(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], resize_mode: str, interpolation: str
) -> None:
    shown, image = TorchResize(preprocessing(resize_mode, interpolation)), noise(*shape)
    whole = shown(image).float()
    n_resized = resize._n_resized(shape, preprocessing(resize_mode))
    monkeypatch.setattr(resize, "MAX_RESIZED_PIXELS", n_resized)
    assert torch.equal(shown(image).float(), whole)
    if resize_mode != "longest":  # which makes no more pixels than the image has
        monkeypatch.setattr(resize, "MAX_RESIZED_PIXELS", n_resized - 1)
        off = (shown(image).float() - whole).abs()
        # squash goes the other way round, and noise is clipped between the two passes
        assert off.max() <= (2 if resize_mode == "shortest" else 6)
        assert off.mean() < 0.4


@pytest.mark.parametrize("shape", [(1, 1_000_001), (1_000_001, 1), (1, 65_535), (65_535, 1)])
def test_the_middle_of_a_long_thin_image_is_shown(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    long, middle = max(shape), max(shape) // 2
    image.reshape(long, 3)[middle - 1 : middle + 2] = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    for interpolation in ("bicubic", "bilinear"):
        shown = TorchResize(preprocessing("shortest", interpolation))(image)
        assert shown[:, 32, 32].tolist() == pytest.approx([0, 255, 0], abs=3)
        across = 1 if shape[0] > 1 else 2
        red, _, blue = shown.float().mean(dim=3 - across).tolist()
        assert red[0] > 100 > 10 > red[-1]
        assert blue == pytest.approx(red[::-1], abs=2)


def test_dali_shows_what_is_cropped_first_too() -> None:
    wanted = preprocessing("shortest")
    for shape in ((1, 65_535), (65_535, 1)):  # the longest that a JPEG is
        image = noise(*shape)
        dali, _ = DaliResize(wanted, device_id=None, batch_size=1, n_threads=1)([image], Lane())
        off = (TorchResize(wanted)(image).float() - dali[0].float()).abs()
        assert off.max() <= 3
        assert off.mean() < 0.3
