"""The commands that tell more of a number, as they are typed in the project's folder."""

from __future__ import annotations

import shlex


def explain(image_id: str, *options: str) -> str:
    """The command that says what became of an image, or why a file is not taken."""
    name = shlex.quote(image_id)
    before = ["--"] if image_id.startswith("-") else []
    return " ".join(["curate explain", *options, *before, name])
