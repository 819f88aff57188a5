from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from encoded_images import make_decoder
from encoders import load_offline, load_tiny, random_pixels
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from curator_assets.kernels.encode import EncoderModel
from curator_assets.kernels.products import threads


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def test_embeddings_are_unit_float32(offline: EncoderModel) -> None:
    embeddings = offline.encode(random_pixels(3, 224))
    assert embeddings.shape == (3, 1280)
    assert embeddings.dtype == np.float32
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx([1, 1, 1], abs=1e-6)


def test_no_images_give_no_embeddings(offline: EncoderModel) -> None:
    assert offline.encode(torch.empty(0, 3, 224, 224)).shape == (0, 1280)


def test_pixels_of_another_size_are_refused(offline: EncoderModel) -> None:
    with pytest.raises(ValueError, match=r"expected \[N, 3, 224, 224\], got \[2, 3, 32, 32\]"):
        offline.encode(random_pixels(2, 32))


def test_an_embedding_does_not_depend_on_its_batch(offline: EncoderModel) -> None:
    pixels = random_pixels(13, 224)
    together = offline.encode(pixels)
    assert np.array_equal(offline.encode(pixels.flip(0))[::-1], together)
    for i in (0, 7, 12):
        assert np.array_equal(offline.encode(pixels[i : i + 1])[0], together[i])


def test_float32_is_float32_on_every_device(offline: EncoderModel) -> None:
    there = load_offline("cpu")
    pixels = random_pixels(8, 224)
    cosines = (offline.encode(pixels) * there.encode(pixels)).sum(axis=1)
    assert cosines.min() >= 1 - 1e-6  # TF32 would cost 1e-5 and more


@pytest.mark.parametrize("execution", ["graph", pytest.param("compiled", marks=pytest.mark.gpu)])
def test_another_execution_gives_the_same_embeddings(offline: EncoderModel, execution: str) -> None:
    if execution == "compiled" and offline.device.type == "cpu":
        pytest.skip("no CUDA device: torch's compiler for CPU needs a C++ compiler")
    model, pixels = replace(offline, execution=execution), random_pixels(20, 224)
    expected, found = offline.encode(pixels), model.encode(pixels)
    if execution == "graph":
        assert np.array_equal(found, expected)
    assert (found * expected).sum(axis=1).min() >= 0.9999
    assert np.array_equal(model.encode(pixels.flip(0))[::-1], found)


def test_batches_begun_together_are_those_encoded_alone(offline: EncoderModel) -> None:
    batches = [random_pixels(n, 224, seed=n).to(offline.device) for n in (3, 9, 1)]
    begun = [offline.begin(pixels) for pixels in batches]
    for pixels, finish in zip(batches, begun, strict=True):
        assert np.array_equal(finish(), offline.encode(pixels))


def test_images_are_counted_with_and_without_padding() -> None:
    model = load_offline("cpu")
    begun = [model.begin(random_pixels(n, 224)) for n in (8, 3, 9)]
    for finish in begun:
        finish()
    assert (model.n_encoded, model.n_computed) == (20, 8 + 8 + 16)


def test_embeddings_agree_with_open_clips_preprocessing(
    shared_data: Path, offline: EncoderModel, device: str
) -> None:
    files = sorted((shared_data / "clip_golden" / "images").glob("*.jpg"))
    files += sorted((shared_data / "flowers").glob("*/*.jpg"))[:300:3]
    assert len(files) == 107
    decoder = make_decoder(offline.preprocessing, device, batch_size=107, max_pixels=10**8)
    transform = image_transform_v2(PreprocessCfg(**offline.visual.preprocess_cfg), is_train=False)
    reference = offline.encode(torch.stack([transform(Image.open(file)) for file in files]))
    embeddings = offline.encode(decoder([file.read_bytes() for file in files]).pixels)
    cosines = (reference * embeddings).sum(axis=1)
    assert cosines.min() >= 0.995
    assert np.median(cosines) >= 0.999


def test_near_duplicates_are_nearer_than_other_photos(
    shared_data: Path, offline: EncoderModel, device: str
) -> None:
    files = sorted((shared_data / "exif_orientation").glob("*.jpg"))
    decoder = make_decoder(offline.preprocessing, device, batch_size=18, max_pixels=10**8)
    embeddings = offline.encode(decoder([file.read_bytes() for file in files]).pixels)
    cosines = embeddings @ embeddings.T
    assert cosines[:9, :9].min() > 0.9
    assert cosines[9:, 9:].min() > 0.9
    assert cosines[:9, 9:].max() < 0.6


@pytest.mark.parametrize(
    ("precision", "dtype", "min_cosine"),
    [
        ("bfloat16", torch.bfloat16, 0.999),
        ("float16", torch.float16, 0.9999),
    ],
)
def test_precision_changes_embeddings_little(
    tiny: Path, precision: str, dtype: torch.dtype, min_cosine: float
) -> None:
    path = str(tiny / "tiny.safetensors")
    model, reference = load_tiny("tiny", path, precision), load_tiny("tiny", path)
    assert next(model.visual.parameters()).dtype == dtype
    pixels = random_pixels(6, 32)
    cosines = (model.encode(pixels) * reference.encode(pixels)).sum(axis=1)
    assert cosines.min() >= min_cosine
