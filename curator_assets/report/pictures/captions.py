"""Captions as the page shows them: short ones beside a picture, whole ones on demand."""

from __future__ import annotations

import unicodedata

MAX_SHORT, MAX_WHOLE = 120, 800
"""Characters. Even of the whole caption no more is shown, so that no text makes the page heavy."""

_JOINER = "\u200d"
_MODIFIERS = range(0x1F3FB, 0x1F400)  # the colours of skin
_REGIONAL = range(0x1F1E6, 0x1F200)  # two of them are a flag


def short_caption(caption: str) -> str:
    """The caption on one line of at most `MAX_SHORT` characters, cut at a word and marked so."""
    text = " ".join(caption.split())
    return text if len(text) <= MAX_SHORT else f"{_cut(text, MAX_SHORT - 1)}…"


def whole_caption(caption: str) -> str:
    """The caption; one of more than `MAX_WHOLE` characters ends in how many there are."""
    if len(caption) <= MAX_WHOLE:
        return caption
    return f"{_cut(caption, MAX_WHOLE)}… ({len(caption):,} characters in all)"


def _cut(text: str, n: int) -> str:
    """At most the first `n` characters, without the beginning of a word or of a written sign.

    Where words are not parted, as in Chinese or Thai, or are very long, a word may be cut.
    """
    end = n
    while end > 0 and not _parts(text, end):
        end -= 1
    head = text[: end or n]
    if not text[len(head)].isspace():
        words = head.rsplit(None, 1)
        head = words[0] if len(words) == 2 and len(words[0]) >= n // 2 else head
    return head.rstrip()


def _parts(text: str, at: int) -> bool:
    """Whether two signs meet before `text[at]`."""
    before, after = text[at - 1], text[at]
    if unicodedata.category(after).startswith("M") or _JOINER in (before, after):
        return False
    if ord(after) in _MODIFIERS:
        return False
    n_flags = 0
    while n_flags < at and ord(text[at - 1 - n_flags]) in _REGIONAL:
        n_flags += 1
    return not (n_flags % 2 and ord(after) in _REGIONAL)
