"""The filesystem that a folder or a URI means."""

from __future__ import annotations

from typing import Any

import fsspec

from curator_assets.errors import UserError
from curator_assets.masking import masked_location, remember_secrets

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class UnknownLocationError(UserError):
    """No filesystem is known for a URI, or the package that speaks its protocol is missing."""


def opened(location: str) -> tuple[Any, str]:
    """The fsspec filesystem of a location, and the location's path on it.

    From then on `masked` knows the location's secrets.

    Raises:
        UnknownLocationError: says what is missing.
    """
    remember_secrets(location)
    try:
        fs, root = fsspec.core.url_to_fs(location)
    except (ImportError, TypeError, ValueError) as error:
        extra = _EXTRAS.get(location.rpartition("::")[2].partition("://")[0])
        install = f"; pip install 'curator-assets[{extra}]'" if extra else ""
        raise UnknownLocationError(
            f"{masked_location(location)!r} can't be used: {error}{install}"
        ) from None
    return fs, root
