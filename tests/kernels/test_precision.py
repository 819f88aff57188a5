from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from encoded_images import make_decoder
from encoders import load_tiny, random_pixels

from curator_assets.kernels import encode, precision
from curator_assets.kernels.encode import EncoderModel
from curator_assets.kernels.precision import (
    MIN_COSINE,
    arithmetic_name,
    candidates,
    choose_precision,
)
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


@pytest.fixture(scope="module")
def small(tiny: Path) -> EncoderModel:
    """What shows how is chosen, whatever is encoded."""
    return load_tiny("tiny", str(tiny / "tiny.safetensors"))


@pytest.fixture(scope="module")
def pixels(small: EncoderModel) -> torch.Tensor:
    return random_pixels(8, small.preprocessing.size)


def let_the_clock_say(monkeypatch: pytest.MonkeyPatch, core_ms: dict[str, float]) -> None:
    """What each candidate takes; an hour if nothing is said of it."""

    def told(model: EncoderModel, _: torch.Tensor) -> float:
        dtype = str(model.dtype).removeprefix("torch.")
        return core_ms.get(arithmetic_name(dtype, model.form), 3.6e6)

    monkeypatch.setattr(precision, "_core_ms", told)


@pytest.mark.parametrize("setting", ["auto", "float32", "bfloat16"])
def test_what_is_chosen_keeps_every_photo_within_the_bound(
    setting: str, request: pytest.FixtureRequest
) -> None:
    """A model in use where the precision is chosen as well, else a small one."""
    of = ("offline", "photos") if setting == "auto" else ("small", "pixels")
    model, images = map(request.getfixturevalue, of)
    choice = choose_precision(model, images, setting)
    assert choice.n_images == 8
    assert setting in ("auto", choice.precision)
    embeddings = model.recast(choice.precision, choice.form).encode(images)
    cosines = (embeddings * model.encode(images)).sum(axis=1)
    name = arithmetic_name(choice.precision, choice.form)
    assert choice.lowest_cosine[name] == pytest.approx(cosines.min(), abs=1e-6)
    assert setting == "bfloat16" or cosines.min() >= MIN_COSINE[choice.precision]
    near = {n for n, c in choice.lowest_cosine.items() if c >= MIN_COSINE[n.split()[0]]}
    assert near <= choice.core_ms.keys() <= choice.lowest_cosine.keys()


def test_the_fastest_is_chosen_and_the_first_of_those_that_tie(
    small: EncoderModel, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "candidates", lambda _: [])
    let_the_clock_say(monkeypatch, {"float32": 10, "float32 onednn": 5})
    assert choose_precision(small, pixels, "auto").form == "onednn"
    let_the_clock_say(monkeypatch, {"float32": 10, "float32 onednn": 9.5})
    assert choose_precision(small, pixels, "auto").form == "plain"
    let_the_clock_say(monkeypatch, {"bfloat16": 10, "bfloat16 onednn": 5, "float32": 1})
    assert choose_precision(small, pixels, "bfloat16").precision == "bfloat16"


class Moved(EncoderModel):
    def encode(self, pixels: torch.Tensor) -> np.ndarray:
        return np.roll(super().encode(pixels), 1, axis=1)


class Placed(EncoderModel):
    def encode(self, pixels: torch.Tensor) -> np.ndarray:
        found = super().encode(pixels)
        found[0] *= 1 - 1e-6
        return found


def in_class(kind: type[EncoderModel]) -> Callable[[EncoderModel, str, str], EncoderModel]:
    """What takes the place of `recast`."""
    recast = EncoderModel.recast

    def recast_in_class(model: EncoderModel, precision: str, form: str) -> EncoderModel:
        made = recast(model, precision, form)
        return kind(**{each.name: getattr(made, each.name) for each in fields(made) if each.init})

    return recast_in_class


def test_what_moves_an_embedding_too_far_is_not_chosen(
    small: EncoderModel, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "candidates", lambda _: ["bfloat16"])
    let_the_clock_say(monkeypatch, dict.fromkeys(("bfloat16", "float32 onednn"), 1.0))
    monkeypatch.setattr(EncoderModel, "recast", in_class(Moved))
    choice = choose_precision(small, pixels, "auto")
    assert (choice.precision, choice.form) == ("float32", "plain")
    assert {"float32", "bfloat16"} < choice.lowest_cosine.keys()


def test_what_depends_on_its_place_in_the_batch_is_not_chosen(
    small: EncoderModel, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "candidates", lambda _: [])
    let_the_clock_say(monkeypatch, {"float32": 10, "float32 onednn": 1})
    monkeypatch.setattr(EncoderModel, "recast", in_class(Placed))
    choice = choose_precision(small, pixels, "auto")
    assert choice.form == "plain"
    assert choice.lowest_cosine["float32 onednn"] >= 0.9999


def test_without_an_image_it_is_plain(small: EncoderModel) -> None:
    for setting, expected in (("auto", "float32"), ("bfloat16", "bfloat16")):
        choice = choose_precision(small, torch.zeros(0, 3, 32, 32), setting)
        assert (choice.precision, choice.form, choice.n_images) == (expected, "plain", 0)


def test_candidates_are_types_that_the_encoder_knows() -> None:
    assert set(candidates(torch.device("cpu"))) <= set(encode.DTYPES) - {"float32"}


def test_the_batch_is_halved_when_memory_runs_out(small: EncoderModel) -> None:
    pixels = random_pixels(9, 32)
    expected = small.encode(pixels)
    greedy = small.recast("float32", "plain")
    largest = []

    class Greedy(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            largest.append(len(batch))
            if len(batch) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return small.visual(batch)

    greedy.visual, greedy.batch_size = Greedy(), 7
    found = greedy.encode(pixels)
    assert greedy.batch_size == 2
    assert max(largest) == 7
    np.testing.assert_allclose((found * expected).sum(axis=1), 1, atol=1e-5)


def test_an_image_that_does_not_fit_alone_is_an_error(small: EncoderModel) -> None:
    class Full(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    model = small.recast("float32", "plain")
    model.visual = Full()
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        model.encode(torch.zeros(3, 3, 32, 32))
    assert model.batch_size == 1
