from pathlib import Path

import numpy as np
import pytest
import torch
from encoded_images import make_decoder

from curator_assets.kernels import encode, precision
from curator_assets.kernels.encode import EncoderModel
from curator_assets.kernels.precision import candidates, choose_precision
from curator_assets.models.open_clip_models import load_model


@pytest.fixture(scope="module")
def offline() -> EncoderModel:
    return load_model(
        "efficientnet_lite0",
        "imagenet",
        device="cpu",
        precision="float32",
        batch_size=4,
        n_threads=2,
    )


@pytest.fixture(scope="module")
def photos(shared_data: Path, offline: EncoderModel) -> torch.Tensor:
    files = sorted((shared_data / "flowers").glob("*/*.jpg"))[:32:4]
    decoder = make_decoder(offline.preprocessing, "cpu", batch_size=8, max_pixels=10**8)
    return decoder([file.read_bytes() for file in files]).pixels


def test_what_is_chosen_keeps_every_photo_within_the_bound(
    offline: EncoderModel, photos: torch.Tensor
) -> None:
    choice = choose_precision(offline, photos)
    assert choice.n_images == 8
    embeddings = offline.to_precision(choice.precision).encode(photos)
    cosines = (embeddings * offline.encode(photos)).sum(axis=1)
    assert cosines.min() >= 0.999
    if choice.precision != "float32":
        assert choice.lowest_cosine[choice.precision] == pytest.approx(cosines.min(), abs=1e-6)
    rejected = [name for name in choice.lowest_cosine if name != choice.precision]
    assert all(choice.lowest_cosine[name] < 0.999 for name in rejected)


def test_what_moves_an_embedding_too_far_is_not_chosen(
    offline: EncoderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "candidates", lambda _: ["bfloat16"])
    monkeypatch.setattr(precision, "MIN_COSINE", 1.1)
    choice = choose_precision(offline, torch.zeros(2, 3, 224, 224))
    assert choice.precision == "float32"
    assert list(choice.lowest_cosine) == ["bfloat16"]


def test_without_an_image_it_is_float32(
    offline: EncoderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "candidates", lambda _: ["bfloat16"])
    choice = choose_precision(offline, torch.zeros(0, 3, 224, 224))
    assert (choice.precision, choice.n_images) == ("float32", 0)


def test_candidates_are_types_that_the_encoder_knows() -> None:
    assert set(candidates(torch.device("cpu"))) <= set(encode.DTYPES) - {"float32"}


def test_the_batch_is_halved_when_memory_runs_out(offline: EncoderModel) -> None:
    pixels = torch.randn(9, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = offline.encode(pixels)
    small = offline.to_precision("float32")
    largest = []

    class Greedy(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            largest.append(len(batch))
            if len(batch) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return offline.visual(batch)

    small.visual, small.batch_size = Greedy(), 7
    found = small.encode(pixels)
    assert small.batch_size == 2
    assert max(largest) == 7
    np.testing.assert_allclose((found * expected).sum(axis=1), 1, atol=1e-5)


def test_an_image_that_does_not_fit_alone_is_an_error(offline: EncoderModel) -> None:
    class Full(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    model = offline.to_precision("float32")
    model.visual = Full()
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        model.encode(torch.zeros(3, 3, 224, 224))
    assert model.batch_size == 1
