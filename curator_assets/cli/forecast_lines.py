"""What a refresh will cost, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.filesize import decimal

from curator_assets.engine.progress import duration
from curator_assets.errors import named
from curator_assets.questions.forecast.forecast import ExpectedSearch, Forecast
from curator_assets.questions.forecast.ranges import Range


def forecast_lines(cost: Forecast) -> Iterator[str]:
    """A line each for images, pairs, bytes read, bytes written and time; and what is left out."""
    yield f"to embed  {_to_embed(cost)}"
    if cost.images:
        for shard, why in cost.images.unread.items():
            yield f"          not counted: {shard}, which can't be read: {why}"
    yield f"pairs     {_pairs(cost.search)}"
    yield f"to read   {_bytes(cost.n_bytes.read)}"
    left_out = "" if cost.n_bytes.tables_are_known else ", without tables of a size not known yet"
    yield f"to write  {_bytes(cost.n_bytes.written)}{left_out}"
    yield f"time      {_time(cost)}"


def _to_embed(cost: Forecast) -> str:
    images, tars = cost.images, _of(Range.of(cost.n_to_embed), "tar")
    if not cost.n_to_embed:
        return "no images"
    if images is None:
        return f"the images of {tars}, whose number can't be told"
    n = images.n_encoded
    likely = "" if n.is_known else f", likely {_number(Range.of(n.expected), is_rounded=True)},"
    encoded = f"{_of(n, 'image')}{likely} of {tars}"
    if not images.n_reused.high:
        return encoded
    are = "is" if images.n_reused == Range.of(1) else "are"
    of = f"of {_number(images.n_images)}; {_number(images.n_reused)} {are} copied"
    return f"{encoded} ({of})"


def _pairs(search: ExpectedSearch | None) -> str:
    if search is None:
        return "none to compare"
    images = _of(search.n_images, "image") if search.n_images else "all images"
    if search.share is None:
        return f"a full search of {images}; the share to compare is not known before it"
    share, compared = _percent(search.share), search.share * search.compared
    if not compared.high:
        return f"none of {images} to compare: all that stay were compared before"
    return f"{_percent(compared)} of those of {images} to compare, of {share} in a full search"


def _percent(share: Range) -> str:
    return _words(share, lambda percent: f"{percent:.3g}", 100) + " %"


def _time(cost: Forecast) -> str:
    time, where = cost.time, f"on this machine ({cost.machine})"
    left_out = [f"no rate of {named(time.unknown)} is known yet {where}"] if time.unknown else []
    if cost.images is None:
        left_out = ["that of embedding can't be told without the number of images", *left_out]
    if time.seconds is None:
        if time.unknown and cost.images:
            return f"no rate is known yet {where}: it is after one refresh"
        return "; ".join(left_out) or "none to speak of"
    low, expected, high = time.seconds.low, time.seconds.expected, time.seconds.high
    rest = f"about {duration(expected)} ({duration(low)} to {duration(high)})"
    refreshes = "the last refresh" if time.n_observations == 1 else "the last refreshes"
    if not left_out:
        return f"{rest}, by {refreshes} {where}"
    return f"{'; '.join(left_out)}; all else takes {rest}, by {refreshes}"


def _of(n: Range, what: str) -> str:
    """So many of something, in the singular or the plural."""
    return f"{_number(n)} {what}{'' if n == Range.of(1) else 's'}"


def _number(n: Range, *, is_rounded: bool = False) -> str:
    """A count, or two; what is not known is rounded to three digits."""
    if n.is_known and not is_rounded:
        return f"{round(n.low):,}"
    return _words(n, lambda value: f"{int(float(f'{value:.3g}')):,}")


def _bytes(n: Range) -> str:
    return _words(n, lambda value: decimal(round(value)), between=" to ")


def _words(n: Range, word: Callable[[float], str], scale: float = 1, between: str = "-") -> str:
    """Both bounds; one if they read alike."""
    low, high = word(n.low * scale), word(n.high * scale)
    return low if low == high else f"{low}{between}{high}"
