"""What was probably done to a copy, guessed from what is stored of both images."""

from __future__ import annotations

from curator_assets.report.numbers.shown_images import Facts

MAX_ASPECT_CHANGE = 0.02


def guess(kept: Facts, removed: Facts) -> str:
    """How the removed image differs from the kept one, in a few words."""
    if kept["content_hash"] == removed["content_hash"]:
        return "identical bytes"
    found = []
    if other_aspect(kept, removed):
        turned = not other_aspect(kept, {"width": removed["height"], "height": removed["width"]})
        found.append("turned" if turned else "cropped or other aspect")
    elif pixels(removed) != pixels(kept):
        found.append("smaller" if pixels(removed) < pixels(kept) else "larger")
    if kept["format"] != removed["format"]:
        found.append(f"other format: {removed['format']}")
    return ", ".join(found) or "re-encoded or edited"


def other_aspect(kept: Facts, removed: Facts) -> bool:
    """Whether the two differ in width / height by more than `MAX_ASPECT_CHANGE`."""
    one, other = kept["width"] * removed["height"], removed["width"] * kept["height"]
    return bool(abs(one - other) > MAX_ASPECT_CHANGE * max(one, other))


def pixels(facts: Facts) -> int:
    """Width x height."""
    return int(facts["width"]) * int(facts["height"])
