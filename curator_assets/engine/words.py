"""Numbers of things as a person says them."""

from __future__ import annotations


def counted(n: int, one: str, many: str | None = None) -> str:
    """`1 image`, `1,200 images`, `no images`; `many` is the plural that an s does not make."""
    noun = one if n == 1 else many or f"{one}s"
    return f"{n:,} {noun}" if n else f"no {noun}"
