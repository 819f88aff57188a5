import numpy as np
import pytest
import torch
from PIL import Image

from curator_assets.demo.photos import crops
from curator_assets.kernels.lane import Lane
from curator_assets.kernels.resize import DaliResize, Preprocessing, TorchResize


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
