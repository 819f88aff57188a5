"""A chart as SVG that takes the page's colours and as PNG on white; how all charts look."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TYPE_CHECKING

from PIL import Image

from curator_assets.control_characters import escaped

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY = "#4a86c5", "#e0762f", "#d64545", "#8a94a0"
_INK = "#010203"  # replaced by the page's own colour
_DPI = 100


@dataclass(frozen=True)
class Chart:
    """A chart by its file's name."""

    name: str
    svg: str
    png: bytes


def render(name: str, draw: Callable[[], Figure]) -> Chart:
    """The chart that `draw` makes, twice; equal figures give equal bytes."""
    with _style():
        figure = draw()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out; each format would do it again, twice
        vector, picture = StringIO(), BytesIO()
        figure.savefig(vector, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(picture, format="png", facecolor="white")
    svg = vector.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    small = BytesIO()
    Image.open(picture).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    return Chart(name, svg, small.getvalue())


def _style() -> AbstractContextManager[None]:
    import matplotlib as mpl

    return mpl.rc_context(
        {
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "axes.facecolor": "none",
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": GREY,
            "grid.alpha": 0.25,
            "font.family": ["DejaVu Sans"],
            "font.size": 10,
            "legend.frameon": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "curation_report",
            "svg.id": None,
        }
    )


def new_figure(width: float = 5.2, height: float = 2.8) -> Figure:
    """An empty figure, its sides in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="none")


def plain_numbers(axis: Axis, ratio: float) -> None:
    """Plain numbers on a logarithmic axis, more of them where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 1e3 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def plain_text(text: str) -> str:
    """Text that matplotlib takes for what it is: no formula, no control character, not long."""
    text = escaped(text)
    short = text if len(text) <= 40 else f"…{text[-39:]}"
    return short.replace("$", r"\$")
