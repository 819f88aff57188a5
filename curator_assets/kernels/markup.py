"""Whether a text is an SVG picture, or a page that merely holds one."""

from __future__ import annotations

import codecs
import re

_ROOT = re.compile(rb"<(?:[\w.-]+:)?svg[\s/>]")
_UTF16_BYTES = 1 << 20  # what begins like it may be a gigabyte of something else
_SPACE = re.compile(rb"\s*")
_BEFORE_ROOT = ((b"<?", b"?>"), (b"<!--", b"-->"))


def is_svg(data: bytes) -> bool:
    """Whether the root element is `svg`, after whatever XML allows before it.

    Args:
        data: a file of any kind, in UTF-8 or, with a byte order mark, UTF-16.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data[:_UTF16_BYTES].decode("utf-16", "replace").encode()
    at = _after_space(data, len(codecs.BOM_UTF8) * data.startswith(codecs.BOM_UTF8))
    while data.startswith(b"<", at):
        if _ROOT.match(data, at):
            return True
        end = _end_of_prolog(data, at)
        if end <= at:
            return False
        at = _after_space(data, end)
    return False


def _end_of_prolog(data: bytes, at: int) -> int:
    """Where an instruction, a comment or a document type that begins here ends; 0 if none does."""
    for begin, end in _BEFORE_ROOT:
        if data.startswith(begin, at):
            found = data.find(end, at + len(begin))
            return found + len(end) if found >= 0 else 0
    if data[at : at + 9].upper() != b"<!DOCTYPE":
        return 0
    close = data.find(b">", at)
    subset = data.find(b"[", at, max(close, at))  # entities that drawing programs declare
    if subset >= 0:
        close = data.find(b">", data.find(b"]", subset))
    return close + 1


def _after_space(data: bytes, at: int) -> int:
    space = _SPACE.match(data, at)
    return space.end() if space else at
