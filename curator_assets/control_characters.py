"""Characters that would act on a terminal, or on a reader, are shown as what they are."""

from __future__ import annotations

import re

_ACTING = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: what moves a cursor, rings, or begins a command
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of text
    "\u2028\u2029\ufeff"  # ends of lines and a mark that is not seen
    "\ud800-\udfff"  # halves of characters, which no encoding takes
)
_PATTERN = re.compile(f"[{_ACTING}]")
_BUT_LINES = re.compile(rf"(?![\n\t])[{_ACTING}]")


def escaped(text: str) -> str:
    r"""A text on one line, its control characters shown as `\x1b` or `\u202e`."""
    return _PATTERN.sub(_shown, text)


def escaped_lines(text: str) -> str:
    """Likewise, but for ends of lines and tabs: of a text that is meant to have lines."""
    return _BUT_LINES.sub(_shown, text)


def escaped_bytes(name: str) -> str:
    r"""A name of a file in UTF-8: its bytes that are none, surrogates in Python, become `\xe9`."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _shown(found: re.Match[str]) -> str:
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    code = ord(found[0])
    return short.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
