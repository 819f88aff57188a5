"""The files that hold score heads: where they lie, and their public homes on request."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from urllib.error import URLError

from curator_assets.errors import UserError
from curator_assets.models.hashes import Hashes
from curator_assets.models.known_heads import KNOWN_HEADS


class HeadUnavailableError(UserError):
    """A head's weights can't be had."""


def head_file(score: str, weights: str, known_head: str | None) -> Path:
    """The file of a head's state dict, fetched once if `weights` is `fetch`.

    Raises:
        HeadUnavailableError: there is no such file, it can't be fetched, or it is another than the
            one that is known under its name.
    """
    if weights != "fetch" or known_head is None:
        return given_head(score, weights)
    kept = kept_head(known_head)
    if kept.is_file():
        again = f"delete {kept}, and it is fetched again"
        _require_pinned(score, known_head, kept, where=str(kept), way_out=again)
        return kept
    return _fetch(score, known_head, kept)


def given_head(score: str, weights: str) -> Path:
    """The file of a head whose path the settings give.

    Raises:
        HeadUnavailableError: there is none.
    """
    if not Path(weights).is_file():
        raise HeadUnavailableError(
            f"heads.{score}: no file at {weights}; give the path of the head's state dict, or "
            "'fetch' to have a public head fetched"
        )
    return Path(weights)


def kept_head(known_head: str) -> Path:
    """Where a public head is kept once fetched.

    Under `~/.cache/curator_assets`, or `$XDG_CACHE_HOME`.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "curator_assets"
    return cache / f"{known_head}.pth"


def _fetch(score: str, known_head: str, target: Path) -> Path:
    url = KNOWN_HEADS[known_head].url
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    elsewhere = f"give its path as heads.{score}.weights"
    try:
        urllib.request.urlretrieve(url, partial)
        _require_pinned(
            score,
            known_head,
            partial,
            where=url,
            way_out=f"try again; if it is the file that you want, fetch it and {elsewhere}",
        )
        partial.replace(target)
    except URLError as error:
        raise HeadUnavailableError(
            f"heads.{score}: {url} can't be fetched ({error.reason}); fetch it where there is "
            f"a network, and {elsewhere}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _require_pinned(score: str, known_head: str, path: Path, *, where: str, way_out: str) -> None:
    """Refuse a file that is not the known one; a head that has no known hash is believed."""
    pinned = KNOWN_HEADS[known_head].sha256
    if pinned and (found := Hashes().of(path)) != f"sha256:{pinned}":
        raise HeadUnavailableError(
            f"heads.{score}: {where} is not the head {known_head!r}: expected sha256:{pinned}, "
            f"got {found}; {way_out}"
        )
