"""Pictures as text, to lie within a page."""

from __future__ import annotations

import base64


def data_uri(data: bytes, picture_format: str) -> str:
    """A data URI of an encoded picture; `picture_format` is `jpeg` or `png`."""
    return f"data:image/{picture_format};base64,{base64.b64encode(data).decode()}"
