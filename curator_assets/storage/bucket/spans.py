"""Near ranges of an object are read together, and large ones in parts, all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from fsspec.utils import merge_offset_ranges

Range = tuple[int, int | None]
"""From a byte up to another one; None: the end."""

MAX_GAP_BYTES = 128 << 10
"""Read along between two ranges: what are asked for at once cost less each than one alone."""

MAX_SPAN_BYTES = 8 << 20
"""Read by one request: two connections give more than one does."""


def merged(ranges: Sequence[Range]) -> list[Range]:
    """The spans to be read for some ranges, in order and none over another."""
    wanted = [(start, stop) for start, stop in ranges if stop is None or stop > start]
    if not wanted:
        return []
    starts, stops = zip(*wanted, strict=True)
    paths = [""] * len(wanted)
    _, begins, ends = merge_offset_ranges(paths, [*starts], [*stops], MAX_GAP_BYTES)
    spans = list[Range]()
    for begin, end in zip(begins, ends, strict=True):
        if end is None:
            spans.append((begin, None))
            continue
        spans += pairwise([*range(begin, end, MAX_SPAN_BYTES), end])
    return spans


def parts_of(ranges: Sequence[Range], spans: Sequence[Range], data: Sequence[bytes]) -> list[bytes]:
    """The bytes of each range out of those of the spans that `merged` made of them."""
    begins = [begin for begin, _ in spans]

    def part(start: int, stop: int | None) -> bytes:
        if stop is not None and stop <= start:
            return b""
        found, at = list[bytes](), bisect_right(begins, start) - 1
        while at < len(begins) and (stop is None or begins[at] < stop):
            begin = begins[at]
            found.append(data[at][max(0, start - begin) : None if stop is None else stop - begin])
            at += 1
        return found[0] if len(found) == 1 else b"".join(found)

    return [part(start, stop) for start, stop in ranges]
