"""Models that benchmarks embed with: the offline one, and others with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

OFFLINE = "efficientnet_lite0"


def model_settings(name: str, folder: Path) -> dict[str, str]:
    """Name and weights of a model, as in curator.yaml.

    Args:
        name: `OFFLINE`, or one of open_clip's, which gets random weights.
        folder: for these.
    """
    weights = "imagenet" if name == OFFLINE else str(random_weights(name, folder))
    return {"name": name, "pretrained": weights}


def random_weights(name: str, folder: Path) -> Path:
    """A checkpoint of a model of open_clip's with seeded random weights: they serve for speed."""
    path = folder / f"{name}.pt"
    if not path.exists():
        import open_clip

        torch.manual_seed(0)
        torch.save(open_clip.create_model(name).state_dict(), path)
    return path
