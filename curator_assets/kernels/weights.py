"""What weights a model setting means, without loading them."""

from __future__ import annotations

import hashlib
from pathlib import Path


def weights_identity(name: str, pretrained: str) -> str:
    """A text that changes when the weights do: a hash of the files, or the pretrained tag.

    Args:
        name: open_clip model name; `local-dir:<folder>` holds its weights itself.
        pretrained: checkpoint path or tag.

    Raises:
        OSError: a file can't be read.
    """
    if name.startswith("local-dir:"):
        files = sorted(Path(name.removeprefix("local-dir:")).iterdir())
        suffixes = (".json", ".safetensors", ".bin", ".pth")
        return _sha256(*(path for path in files if path.suffix in suffixes))
    if Path(pretrained).is_file():
        return _sha256(Path(pretrained))
    return name if name.startswith("hf-hub:") else pretrained


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"
