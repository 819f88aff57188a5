"""A chart as SVG: within the page it takes the page's colours, as a file it brings its own.

Colours are Okabe and Ito's, that eyes without red or green tell apart. Each has a contrast of 3 : 1
to the page's light and dark ground alike; text, axes and the chosen value are in the colour of the
page's text. No text of a user is drawn: a font could lack it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"
"""What is kept, what is removed, what is recommended."""
INK, GROUND = "#010203", "#fefdfc"
"""Stand for the colours of the page's text and ground, which take their places in the SVG."""
FONT_SIZE = 10.5
"""In points; a telephone shows three quarters of it."""

GROUNDS = {"light": ("#1d2329", "#ffffff"), "dark": ("#e3e6ea", "#15181c")}
"""Text and ground of a chart that is a file."""

_WIDTH, _LEFT, _RIGHT, _BOTTOM, _TOP = 4.6, 0.82, 0.3, 0.6, 0.15  # inches
_LABEL_ROW = 0.2  # inches
_LOOK: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, and is wider than what browsers have
    "font.size": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Chart:
    """A chart by its file's name.

    Attributes:
        name: of its file.
        svg: to be put into a page; it takes the page's colours, and no other chart has its ids.
        title: what it shows.
        about: what is found in it, a sentence.
    """

    name: str
    svg: str
    title: str
    about: str

    @property
    def file(self) -> str:
        """The SVG that needs no page: light or dark as its reader wishes."""
        light, dark = ([f"{n}:{c}" for n, c in _colors(name)] for name in ("light", "dark"))
        style = (
            f":root{{{';'.join(light)}}}.ground{{fill:var(--page)}}"
            f"@media(prefers-color-scheme:dark){{:root{{{';'.join(dark)}}}}}"
        )
        (ink, ground), end = GROUNDS["light"], self.svg.index(">") + 1
        head = self.svg[: end - 1] + f' color="{ink}">'  # for readers without style sheets
        back = f'<rect class="ground" width="100%" height="100%" fill="{ground}"/>'
        return f"{head}<style>{style}</style>{back}{self.svg[end:]}"


def _colors(ground: str) -> Iterator[tuple[str, str]]:
    ink, page = GROUNDS[ground]
    yield from (("color", ink), ("--page", page))


def render(name: str, draw: Callable[[], Figure], *, title: str, about: str) -> Chart:
    """The chart that `draw` makes; equal figures give equal bytes."""
    with _look(name):
        file = StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        draw().savefig(file, format="svg", transparent=True, metadata=none)
    drawn = file.getvalue().replace(INK, "currentColor").replace(GROUND, "var(--page, Canvas)")
    for color, verdict in ((BLUE, "kept"), (VERMILLION, "duplicate")):
        drawn = drawn.replace(color, f"var(--{verdict}, {color})")  # the page's, by its ground
    drawn = drawn.replace("'DejaVu Sans'", "system-ui, sans-serif")
    drawn = re.sub(r"\s*<style.*?</style>", "", drawn, count=1, flags=re.DOTALL)  # of the page's *
    prefix = f"c{blake2b(name.encode(), digest_size=5).hexdigest()}"
    drawn = _with_own_ids(drawn, prefix)
    start = drawn.index("<svg") + len("<svg")
    end = drawn.index(">", start)
    root = (
        f'<svg role="img" aria-labelledby="{prefix}-title {prefix}-about"'
        f' stroke-linejoin="round" stroke-linecap="butt"{drawn[start:end]}>'
        f'<title id="{prefix}-title">{escape(title)}</title>'
        f'<desc id="{prefix}-about">{escape(about)}</desc>'
    )
    return Chart(name, root + drawn[end + 1 :], title, about)


def _with_own_ids(svg: str, prefix: str) -> str:
    """The SVG without ids that nothing refers to, the others with a prefix."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", svg)
    return re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", svg)


def text_width(text: str) -> float:
    """Points that a text takes in a chart."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=FONT_SIZE)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


@contextmanager
def _look(name: str) -> Iterator[None]:
    """How all charts look, whatever a person's own `matplotlibrc` says."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_LOOK | {"svg.hashsalt": name})
        yield


def new_axes(
    height: float = 2.2,
    *,
    n_labels: int = 0,
    left: float = _LEFT,
    right: float = _RIGHT,
) -> tuple[Figure, Axes]:
    """An empty figure with axes at a place of their own, so that no layout has to be sought.

    Args:
        height: of the axes, in inches.
        n_labels: rows of text above them.
        left: inches left of them.
        right: likewise.
    """
    from matplotlib.figure import Figure

    total = _BOTTOM + height + _TOP + _LABEL_ROW * n_labels
    figure = Figure(figsize=(_WIDTH, total), facecolor="none", dpi=72)
    width = (_WIDTH - left - right) / _WIDTH
    return figure, figure.add_axes((left / _WIDTH, _BOTTOM / total, width, height / total))
