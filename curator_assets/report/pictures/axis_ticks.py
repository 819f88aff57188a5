"""Ticks that can be read: round values, in words people use, whose labels do not touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING

import numpy as np

from curator_assets.report.pictures.chart_rendering import FONT_SIZE, text_width

if TYPE_CHECKING:
    from matplotlib.axis import Axis

_LINE = 1.2 * FONT_SIZE
_GAP = 0.8 * FONT_SIZE
_BEYOND = 18  # points that a label may stick out of the axes; there is that much beside them
_UNITS = ((1e9, " B"), (1e6, " M"), (1e4, " k"), (0, ""))
_SIZES = {" B": 1e9, " M": 1e6, " k": 1e3, "": 1}


def scale(
    axis: Axis, low: float, high: float, *, is_log: bool = False, is_whole: bool = False
) -> None:
    """Set limits and ticks of an axis; its axes have their place already.

    Args:
        axis: x or y.
        low: one end, above 0 if the axis is logarithmic.
        high: the other; may be the same.
        is_log: whether the axis is logarithmic.
        is_whole: whether only whole numbers mean something.
    """
    if not low < high:
        room = max(abs(low) / 100, 0.5) if not is_log else low / 2
        low, high = low - room, high + room
    axes, name = axis.axes, "xy"[axis is axis.axes.yaxis]
    axes.set(**{f"{name}scale": "log" if is_log else "linear", f"{name}lim": (low, high)})
    put_ticks(axis, readable_ticks(axis, is_log=is_log, is_whole=is_whole))


def put_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Put labelled ticks on an axis, and no others."""
    from matplotlib.ticker import NullLocator

    axis.set_ticks(list(ticks), tick_labels(ticks))
    axis.set_minor_locator(NullLocator())


def readable_ticks(axis: Axis, *, is_log: bool, is_whole: bool) -> list[float]:
    """The most ticks whose labels do not touch; of an axis whose limits are set."""
    low, high = axis.get_view_interval()
    box = axis.axes.bbox
    is_upright = axis is axis.axes.yaxis
    length = (box.height if is_upright else box.width) * 72 / axis.axes.figure.dpi
    ends = np.log10([low, high]) if is_log else np.array([low, high])
    for ticks in _candidates(low, high, is_log=is_log, is_whole=is_whole):
        where = np.log10(ticks) if is_log else np.array(ticks)
        places = length * (where - ends[0]) / (ends[1] - ends[0])
        if is_upright:
            extents = np.full(len(ticks), _LINE)
        else:
            extents = np.array([text_width(label) for label in tick_labels(ticks)])
        starts, stops = places - extents / 2, places + extents / 2
        is_within = starts[0] >= -_BEYOND and stops[-1] <= length + _BEYOND
        if is_within and (starts[1:] - stops[:-1] >= _GAP).all():
            return ticks
    return []


def _candidates(low: float, high: float, *, is_log: bool, is_whole: bool) -> Iterator[list[float]]:
    """Sets of ticks within the limits, dense ones first, one tick last."""
    from matplotlib.ticker import MaxNLocator

    if is_log and high / low >= 10:
        first, last = floor(log10(low)), ceil(log10(high))
        for subs, step in (((1, 2, 5), 1), ((1, 3), 1), *(((1,), s) for s in range(1, 400))):
            decades = [n for n in range(first, last + 1) if n % step == 0]
            ticks = [sub * 10.0**n for n in decades for sub in subs]
            ticks = [t for t in ticks if low <= t <= high and not (is_whole and t < 1)]
            if ticks:
                yield ticks
    else:
        for n in range(8 if is_whole else 6, 0, -1):
            locator = MaxNLocator(n, steps=[1, 2, 5, 10], integer=is_whole, min_n_ticks=1)
            ticks = [float(t) for t in locator.tick_values(low, high) if low <= t <= high]
            if ticks:
                yield ticks
        yield ticks[len(ticks) // 2 :][:1]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """1,000, 10 k, 1 M, 1 B: as few digits as tell each value; evenly spaced ones in one unit."""
    steps = np.diff(ticks)
    is_even = len(steps) > 0 and np.allclose(steps, steps[0])
    most = max(map(abs, ticks), default=0)
    units = [_unit(most if is_even else value) for value in ticks]
    for digits in range(1, 16):
        if digits > 3:
            units = [""] * len(ticks)
        numbers = [
            float(f"{value / _SIZES[unit]:.{digits}g}")
            for value, unit in zip(ticks, units, strict=True)
        ]
        found = [number * _SIZES[unit] for number, unit in zip(numbers, units, strict=True)]
        if np.allclose(found, ticks, rtol=0, atol=_tolerance(ticks)):
            break
    return [f"{plain(n)}{unit if n else ''}" for n, unit in zip(numbers, units, strict=True)]


def number(value: float) -> str:
    """A number as ticks show it, in three digits where it is large."""
    rounded = float(f"{value:.3g}")
    unit = _unit(rounded)
    return f"{plain(rounded / _SIZES[unit] if unit else value)}{unit}"


def _tolerance(ticks: Sequence[float]) -> float | np.ndarray:
    """How far a label may be from its value: a hundredth of what tells it from its neighbour."""
    if len(ticks) < 2:
        return 1e-9 * abs(ticks[0]) if len(ticks) else 0
    steps = np.abs(np.diff(ticks))
    nearest: np.ndarray = np.minimum([*steps, np.inf], [np.inf, *steps])
    return nearest / 100


def _unit(value: float) -> str:
    return next(unit for least, unit in _UNITS if abs(value) >= least)


def plain(value: float) -> str:
    """A number with all of its digits, as people write them."""
    text = f"{value:,.10g}" if abs(value) < 1e9 else f"{value:,.15g}"
    return text.replace("e-0", "e-").replace("e+", "e")
