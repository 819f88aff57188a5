"""Numbers within the sentences of a recommendation."""

from __future__ import annotations


def percent(share: float) -> str:
    """0.9876 as 98.8 %; what is not all never reads as all."""
    rounded = f"{100 * share:.1f}".removesuffix(".0")
    return f"{'99.9' if rounded == '100' and share < 1 else rounded} %"


def cosine_range(eps_to: float, eps_from: float) -> str:
    """The cosines between two eps."""
    return f"cosine {1 - eps_to:.6g} to {1 - eps_from:.6g}"
