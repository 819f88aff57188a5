"""The forms of a tower: each gives the embeddings of the plain one, and of each image by itself."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import encoders
import numpy as np
import pytest
import torch
from encoders import load_offline, load_tiny, random_pixels
from open_clip.modified_resnet import ModifiedResNet

from curator_assets.kernels.encode import (
    DTYPES,
    EncoderModel,
    UnsupportedFormError,
    place_encoder,
)
from curator_assets.kernels.forms import (
    FOLDED,
    FORMS,
    ONEDNN,
    PLAIN,
    in_form,
    is_form_supported,
)
from curator_assets.kernels.precision import MIN_COSINE
from curator_assets.kernels.products import threads


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def normed_at_random(visual: torch.nn.Module) -> torch.nn.Module:
    """As if trained, or folding would have nothing to do."""
    torch.manual_seed(0)
    for part in visual.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
            torch.nn.init.normal_(part.running_mean, std=0.1)
            if part.affine:
                torch.nn.init.normal_(part.weight, 1.0, 0.1)
                torch.nn.init.normal_(part.bias, std=0.1)
    return visual.eval()


@cache
def offline_in(precision: str, form: str) -> EncoderModel:
    """The offline model, written down once a form; no test changes it."""
    if form == PLAIN and precision == "float32":
        return load_offline("cpu")
    return offline_in("float32", PLAIN).recast(precision, form)


def load(name: str, tiny: Path) -> EncoderModel:
    """In plain float32: a network of depthwise convolutions, a transformer, or a ResNet."""
    if name == "offline":
        return offline_in("float32", PLAIN)
    transformer = load_tiny("tiny", str(tiny / "tiny.safetensors"))
    if name == "transformer":
        return transformer
    visual = ModifiedResNet((1, 1, 1, 1), output_dim=16, heads=2, image_size=32, width=8)
    return place_encoder(
        normed_at_random(visual),
        replace(transformer.preprocessing, size=32),
        "sha256:0",
        device="cpu",
        precision="float32",
        form=PLAIN,
        batch_size=4,
        n_threads=2,
        execution="eager",
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["offline", "transformer", "resnet"])
def test_an_embedding_is_its_images_alone(name: str, form: str, precision: str, tiny: Path) -> None:
    if not is_form_supported(form, DTYPES[precision]):
        pytest.skip(f"this processor can't run {precision} in the form {form}")
    plain = load(name, tiny)
    pixels = random_pixels(11, plain.preprocessing.size)
    is_offline = name == "offline"
    model = offline_in(precision, form) if is_offline else plain.recast(precision, form)
    together = model.encode(pixels)
    assert (together * plain.encode(pixels)).sum(axis=1).min() >= MIN_COSINE[precision]
    assert np.array_equal(model.encode(pixels.flip(0))[::-1], together)
    for i in (0, 7, 10):
        assert np.array_equal(model.encode(pixels[i : i + 1])[0], together[i])
    neighbours = torch.full_like(pixels, 50.0)
    neighbours[9] = pixels[3]
    assert np.array_equal(model.encode(neighbours)[9], together[3])


def test_another_process_gives_the_same_bits(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from encoders import load_offline, random_pixels\n"
        "for form in sys.argv[3:]:\n"
        "    model = load_offline('cpu', form=form)\n"
        "    np.save(f'{sys.argv[2]}/{form}.npy', model.encode(random_pixels(9, 224)))\n"
    )
    arguments = [str(Path(encoders.__file__).parent), str(tmp_path), *FORMS]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True)
    for form in FORMS:
        here = offline_in("float32", form).encode(random_pixels(9, 224))
        assert np.array_equal(np.load(tmp_path / f"{form}.npy"), here)


def test_no_batch_norm_is_left_and_no_weight_is_held_twice() -> None:
    plain = offline_in("float32", PLAIN)
    called = {}
    for form in (FOLDED, ONEDNN):
        visual = offline_in("float32", form).visual
        called[form] = {str(n.target) for n in visual.graph.nodes if n.op == "call_function"}
        kept = sum(w.numel() for w in (*visual.parameters(), *visual.buffers()))
        assert kept < sum(w.numel() for w in plain.visual.parameters())
    assert "aten.batch_norm.default" not in called[FOLDED] | called[ONEDNN]
    assert {"aten.conv2d.default", "aten.hardtanh_.default"} <= called[FOLDED]
    assert not {"aten.conv2d.default", "aten.hardtanh_.default"} & called[ONEDNN]


class Branched(torch.nn.Module):
    """What may not be folded or fused: a convolution that is used twice, once past its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.narrow = torch.nn.Conv2d(8, 8, 1, bias=False)
        self.other_norm = torch.nn.BatchNorm2d(8, affine=False)
        self.last = torch.nn.Linear(8, 4)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        wide = self.conv(batch)
        normed = torch.nn.functional.silu(self.norm(wide)) + wide
        normed = self.other_norm(self.narrow(normed))
        pooled = torch.nn.functional.relu6(normed).mean(dim=(2, 3))
        return torch.nn.functional.gelu(self.last(pooled), approximate="tanh")


@pytest.mark.parametrize("form", FORMS)
def test_what_branches_is_computed_as_it_was(form: str) -> None:
    visual = normed_at_random(Branched()).requires_grad_(False)
    batch = random_pixels(4, 16)
    with torch.inference_mode():
        expected = visual(batch)
        found = in_form(visual, form, torch.float32, torch.zeros_like(batch))(batch)
    assert torch.allclose(found, expected, atol=1e-5)
    assert expected.std() > 1e-3


def test_a_form_that_this_machine_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(UnsupportedFormError, match="float32 by onednn, which this processor"):
        load_offline("cpu", form=ONEDNN)


def test_memory_may_run_out_in_every_form() -> None:
    for form in FORMS:
        model = replace(offline_in("float32", form))
        pixels = random_pixels(3, 224)
        expected = model.encode(pixels)
        model.batch_size = 1
        assert (model.encode(pixels) * expected).sum(axis=1).min() >= 0.9999
