"""The filesystem that a folder or a URI means."""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import fsspec

from curator_assets.errors import UserError
from curator_assets.masking import masked_location, remember_secrets
from curator_assets.storage.bucket.errors import credentials_of, store_of

_SAME = {"s3a": "s3", "gcs": "gs"}
_LOCAL = re.compile(r"(file|local):(//|(?=/))", re.IGNORECASE)
_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}
_N_CONNECTIONS = 64
_ONCE, _N_S3FS_TRIES = {"total_max_attempts": 1}, 2
"""Of botocore, which s3fs has try, and reads that twice: a server that hangs costs 15 s each time,
and 31 minutes by what both would do of themselves. `Outage` has the patience."""


class UnknownLocationError(UserError):
    """No filesystem is known for a URI, or the package that speaks its protocol is missing."""


class CredentialsInLocationError(UserError):
    """A key stands in the settings; it belongs into the environment."""


def resolved(location: str, folder: Path) -> str:
    """The one way to write a location, so that two may be compared; nothing is opened.

    Of this machine that is the path without links, `..` and a slash at its end, whether it was
    given as a path, taken from `folder`, or as a URI such as `file:///data`. Of a bucket it is the
    URI in its usual protocol without slashes at its end; `..` is a name like others there.
    """
    if on_this_machine := _LOCAL.match(location):
        path = os.path.expanduser(location[on_this_machine.end() :])  # noqa: PTH111
        return str((folder / path).resolve())
    protocol, is_uri, path = location.partition("://")
    if not is_uri:
        return str((folder / location).resolve())
    protocol = protocol.lower()
    return f"{_SAME.get(protocol, protocol)}://{path.rstrip('/')}"


def lies_in(location: str, other: str) -> bool:
    """Whether a resolved location is another one, or below it."""
    return f"{location.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")


def opened(location: str) -> tuple[Any, str]:
    """The fsspec filesystem of a location, and the location's path on it.

    From then on `masked` knows the location's secrets.

    Raises:
        UnknownLocationError: says what is missing.
        CredentialsInLocationError: a bucket's URI holds a key.
    """
    remember_secrets(location)
    _require_no_key(location)
    store = store_of(location.rpartition("::")[2]) if "://" in location else ""
    options = {} if "::" in location else _options(store)
    try:
        fs, root = fsspec.core.url_to_fs(location, **options)
    except (ImportError, TypeError, ValueError) as error:
        extra, to_do = _EXTRAS.get(store), ""
        if extra and isinstance(error, ImportError):
            to_do = f"; pip install 'curator-assets[{extra}]'"
        elif extra:
            to_do = f"; set {credentials_of(location)}"
        raise UnknownLocationError(
            f"{masked_location(location)!r} can't be used: {error}{to_do}"
        ) from None
    if store == "s3":
        fs.retries = _N_S3FS_TRIES
    return fs, root


def _require_no_key(location: str) -> None:
    """Where it would be stored, compared and handed on a key is refused, though it is masked."""
    for uri in location.split("::"):
        key, at, _ = uri.partition("://")[2].rpartition("@")
        if store_of(uri) in _EXTRAS and at and ":" in key.partition("/")[0]:
            raise CredentialsInLocationError(
                f"{masked_location(location)!r} holds a key before the '@'; expected the bucket "
                f"alone there, and {credentials_of(uri)}: take the key out of the settings, and "
                "replace it by a new one if others could read them"
            )


@cache
def _s3_session(_: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """The option of s3fs with which the times of a listing are read, and not guessed at.

    Guessing how they are written takes three quarters of the time in which a listing is read. A
    session is of the variables of the environment that it was made with.
    """
    try:
        from aiobotocore.session import AioSession
        from botocore.utils import parse_timestamp
    except ImportError:  # s3fs is asked for next, and its lack is told
        return {}

    def read_time(value: Any) -> Any:
        try:
            return datetime.fromisoformat(value)
        except (TypeError, ValueError):  # of an HTTP header, or a number
            return parse_timestamp(value)

    session = AioSession()
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=read_time)
    return {"session": session}


def _options(store: str) -> dict[str, Any]:
    """No answer from a listing that was kept; and of S3 so many connections as are used at once."""
    if store == "s3":
        given = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
        config = {"max_pool_connections": _N_CONNECTIONS, "retries": _ONCE} | given
        variables = frozenset(kv for kv in os.environ.items() if kv[0].startswith("AWS_"))
        return {"use_listings_cache": False, "config_kwargs": config} | _s3_session(variables)
    return {"use_listings_cache": False} if store in _EXTRAS else {}
