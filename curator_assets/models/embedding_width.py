"""How wide the embeddings of a model are, told without loading it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from curator_assets.models import offline_model
from curator_assets.models.identity import CONFIG, LOCAL_DIR

_OFFLINE_WIDTH = 1280


def embedding_width(name: str) -> int | None:
    """The width of the embeddings of a model of open_clip's; None if no file here tells it.

    Args:
        name: as `load_model` takes it.
    """
    if name == offline_model.NAME:
        return _OFFLINE_WIDTH
    if name.startswith(LOCAL_DIR):
        config = Path(name.removeprefix(LOCAL_DIR)) / CONFIG
    else:
        package = find_spec("open_clip")  # found, not imported: that would import torch
        if package is None or package.origin is None:
            return None
        config = Path(package.origin).parent / "model_configs" / f"{name.replace('/', '-')}.json"
    try:
        told = json.loads(config.read_bytes())
        return int(told.get("model_cfg", told)["embed_dim"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
