"""The commands that tell more of a number, as they are typed in the project's folder."""

from __future__ import annotations

import shlex

from curator_assets.control_characters import escaped


def explain(image_id: str, *options: str) -> str:
    """The command that says what became of an image, or why a file is not taken."""
    name = _quoted(image_id)
    before = ["--"] if image_id.startswith("-") else []
    return " ".join(["curate explain", *options, *before, name])


def _quoted(text: str) -> str:
    """A text as one word of a shell; control characters, which a page can't show, by number."""
    if escaped(text) == text:
        return shlex.quote(text)
    plain = text.replace("\\", r"\\").replace("'", r"\'")
    shown = (char if escaped(char) == char else f"\\u{ord(char):04x}" for char in plain)
    return f"$'{''.join(shown)}'"
