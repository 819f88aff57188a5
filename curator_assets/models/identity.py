"""What identifies weights: `sha256:<hex>` of their bytes, told without loading or fetching them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from curator_assets.models import offline_model
from curator_assets.models.hashes import Hashes
from curator_assets.models.head_files import given_head, kept_head
from curator_assets.models.known_heads import KNOWN_HEADS

UNDECIDED = "undecided: weights not here yet"
"""What to say where an identity is None."""

LOCAL_DIR = "local-dir:"
HF_HUB = "hf-hub:"
CONFIG = "open_clip_config.json"
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pth"}  # those that open_clip looks for in a folder


def weights_identity(
    name: str, pretrained: str, hashes: Hashes, tags: Mapping[str, str]
) -> str | None:
    """The identity of a model's weights; the same that `EncoderModel.weights` says once loaded.

    What the hub means by a name or tag is only known once it was loaded: open_clip's table of tags
    can't be read without torch, and the hub may give another file than its cache holds.

    Args:
        name: As `load_model` takes it.
        pretrained: Likewise.
        hashes: Of files read before.
        tags: `tag_key` -> identity, of hub weights that were loaded before.

    Returns:
        `sha256:<hex>`: of a checkpoint its bytes', of a folder `files_identity` of its config and
        weights. None, to be told as `UNDECIDED`, if the weights were never here.

    Raises:
        OSError: A file can't be read.
    """
    if (name, pretrained) == (offline_model.NAME, offline_model.PRETRAINED):
        try:
            return hashes.of(offline_model.installed_checkpoint())
        except ModuleNotFoundError:
            return None
    if name.startswith(LOCAL_DIR):
        return files_identity(model_files(Path(name.removeprefix(LOCAL_DIR))), hashes)
    if not name.startswith(HF_HUB) and Path(pretrained).is_file():
        return hashes.of(Path(pretrained))
    return tags.get(tag_key(name, pretrained))


def tag_key(name: str, pretrained: str) -> str:
    """The key of hub weights in `tags`."""
    return f"{name}/{pretrained}"


def model_files(folder: Path) -> list[Path]:
    """The config and the weights in a folder of open_clip's.

    Raises:
        OSError: It can't be listed.
    """
    files = folder.iterdir()
    return [path for path in files if path.name == CONFIG or path.suffix in _WEIGHT_SUFFIXES]


def files_identity(paths: Iterable[Path], hashes: Hashes) -> str:
    """The identity of several files together: of the text that `sha256sum` prints of them.

    Args:
        paths: In any order; they are taken in that of their names.
        hashes: Of files read before.

    Raises:
        OSError: A file can't be read.
    """
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        digest.update(f"{hashes.of(path).removeprefix('sha256:')}  {path.name}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def head_identity(score: str, weights: str, known_head: str | None, hashes: Hashes) -> str | None:
    """The identity of a head's weights.

    Args:
        score: For messages.
        weights: Path of the state dict, or `fetch`.
        known_head: Name of the public head, if it is one.
        hashes: Of files read before.

    Returns:
        `sha256:<hex>`. None, to be told as `UNDECIDED`, if the head has yet to be fetched and no
        hash of it is published here.

    Raises:
        HeadUnavailableError: There is no file at the path given.
        OSError: A file can't be read.
    """
    if weights != "fetch" or known_head is None:
        return hashes.of(given_head(score, weights))
    if pinned := KNOWN_HEADS[known_head].sha256:
        return f"sha256:{pinned}"
    kept = kept_head(known_head)
    return hashes.of(kept) if kept.is_file() else None
