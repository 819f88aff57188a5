"""A chart's figure as it was drawn, and whether its texts can be read."""

from collections.abc import Callable, Iterator

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from curator_assets.report.pictures.chart_rendering import render


def drawn(draw: Callable[[], Figure]) -> tuple[Figure, str]:
    """The figure as it was rendered, and its SVG."""
    kept: list[Figure] = []

    def keep() -> Figure:
        kept.append(draw())
        return kept[0]

    chart = render("x", keep, title="a", about="b")
    return kept[0], chart.svg


def text_boxes(figure: Figure) -> Iterator[tuple[str, np.ndarray]]:
    """Every text of a figure, and its left, lower, right and upper end in points."""
    canvas, scale = FigureCanvasAgg(figure), 4  # or glyphs are set on whole points
    figure.set_dpi(72 * scale)
    canvas.draw()
    for axes in figure.axes:
        labels = (axes.title, axes.xaxis.label, axes.yaxis.label)
        ticks = (*axes.get_xticklabels(), *axes.get_yticklabels())
        for text in (*axes.texts, *labels, *ticks):
            if text.get_text() and text.get_visible():
                yield text.get_text(), text.get_window_extent(canvas.get_renderer()).extents / scale


def assert_texts_are_apart(figure: Figure) -> None:
    """No text touches another or reaches beyond the figure."""
    boxes = list(text_boxes(figure))
    assert len(boxes) > 3
    width, height = figure.get_size_inches() * 72
    for i, (text, (left, low, right, high)) in enumerate(boxes):
        assert left >= 0 and low >= 0 and right <= width and high <= height, text
        for other, (left_2, low_2, right_2, high_2) in boxes[:i]:
            is_apart = right <= left_2 or right_2 <= left or high <= low_2 or high_2 <= low
            assert is_apart, (text, other)
