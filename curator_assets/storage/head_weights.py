"""The files that hold score heads: where they lie, and their public homes on request."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path
from urllib.error import URLError

from curator_assets.kernels.known_heads import KNOWN_HEADS


class HeadUnavailableError(RuntimeError):
    """A head's weights can't be had."""


def head_weights(score: str, weights: str, known_head: str | None) -> Path:
    """The file of a head's state dict, fetched once if `weights` is `fetch`.

    Fetched files are kept under `~/.cache/curator_assets` (or `$XDG_CACHE_HOME`).

    Raises:
        HeadUnavailableError: there is no such file, or it can't be fetched.
    """
    if weights != "fetch":
        if not Path(weights).is_file():
            raise HeadUnavailableError(
                f"heads.{score}: no file at {weights}; give the path of the head's state dict, or "
                "'fetch' to have a public head fetched"
            )
        return Path(weights)
    assert known_head is not None
    url = KNOWN_HEADS[known_head].url
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "curator_assets"
    target = cache / f"{known_head}.pth"
    if not target.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        try:
            partial, _ = urllib.request.urlretrieve(url, target.with_suffix(f".{os.getpid()}"))
        except URLError as error:
            raise HeadUnavailableError(
                f"heads.{score}: {url} can't be fetched ({error.reason}); fetch it where there is "
                f"a network, and give its path as heads.{score}.weights"
            ) from error
        Path(partial).replace(target)
    return target


def file_hash(path: Path) -> str:
    """128-bit hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
