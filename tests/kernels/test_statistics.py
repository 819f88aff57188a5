import numpy as np
import torch

from curator_assets.kernels.statistics import measure


def pictures(n: int, side: int, device: str) -> torch.Tensor:
    """Noise, and one picture of the largest Laplacian there is."""
    pixels = torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(0))
    pixels[0] = 0
    pixels[0, :, ::2, ::2] = pixels[0, :, 1::2, 1::2] = 255
    return pixels.float().to(device)


def test_figures_are_those_of_plain_float64_sums(device: str) -> None:
    pixels = pictures(5, 64, device)
    red, green, blue = pixels.cpu().double().numpy().transpose(1, 0, 2, 3)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    laplacian = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    laplacian -= 4 * luma[:, 1:-1, 1:-1]
    luminance, sharpness = measure(pixels).cpu().numpy()
    np.testing.assert_allclose(luminance, luma.mean(axis=(1, 2)) / 255, rtol=1e-6)
    np.testing.assert_allclose(sharpness, laplacian.var(axis=(1, 2)), rtol=1e-6)


def test_an_image_has_the_same_bits_in_any_batch_and_on_any_device(device: str) -> None:
    pixels = pictures(33, 224, device)
    together = measure(pixels).cpu()
    assert torch.equal(together, measure(pixels.cpu()))
    for i in range(len(pixels)):
        assert torch.equal(measure(pixels[i : i + 1])[:, 0].cpu(), together[:, i])


def test_a_flat_picture_has_no_sharpness(device: str) -> None:
    luminance, sharpness = measure(torch.full((1, 3, 8, 8), 255.0, device=device)).cpu().numpy()
    assert luminance == 1
    assert sharpness == 0
