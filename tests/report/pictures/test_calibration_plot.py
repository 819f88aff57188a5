import re

import numpy as np
import pytest
from drawn_charts import assert_texts_are_apart, drawn

from curator_assets.kernels.augment import TRANSFORMS
from curator_assets.report.pictures import calibration_plot
from curator_assets.report.pictures.calibration_plot import calibration_chart
from curator_assets.storage.calibration import RANDOM_PAIRS

ALL = {
    name: np.linspace(1 - 10.0 ** (row - 7), 1, 9, dtype=np.float32)
    for row, name in enumerate([*list(TRANSFORMS)[:6], RANDOM_PAIRS])
}
ONE = {"crop": np.ones(1, np.float32)}


@pytest.mark.parametrize(
    ("cosines", "eps", "max_eps"),
    [(ALL, 0.03, 0.05), (ALL, 0, 0.5), (dict.fromkeys(TRANSFORMS, ONE["crop"]), 0.01, 0.01)],
)
def test_eps_and_max_eps_are_named_where_they_lie(monkeypatch, caplog, cosines, eps, max_eps):
    found = []

    def render(_, draw, **words):
        found.append(drawn(draw)[0])

    monkeypatch.setattr(calibration_plot, "render", render)
    calibration_chart(cosines, eps=eps, max_eps=max_eps)
    (figure,) = found
    (axes,) = figure.axes
    upright = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    least = calibration_plot.MIN_EPS
    assert upright == [max(eps, least), max(max_eps, least)]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:2] == [f"eps {eps:g}", f"max_eps {max_eps:g}"]
    assert len([text for text in texts if text.endswith(" %")]) == len(cosines)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(cosines)
    assert_texts_are_apart(figure)
    assert not caplog.records


def test_the_finding_has_the_share_of_each_transform():
    cosines = {
        "crop": np.array([0.99, 0.9], np.float32),
        "flip": np.array([0.1, 0.2, 0.98], np.float32),
        RANDOM_PAIRS: np.array([0.1] * 1999 + [1], np.float32),
    }
    chart = calibration_chart(cosines, eps=0.05, max_eps=0.05)
    assert chart.about == (
        "A search at eps 0.05 finds 50 % of crop, 33.3 % of flip, < 0.1 % of pairs of different "
        "images."
    )
    assert re.search(r">50 %</text>.*>33.3 %</text>.*>&lt; 0.1 %</text>", chart.svg, re.DOTALL)
    assert chart == calibration_chart(cosines, eps=0.05, max_eps=0.05)


def test_one_copy_without_spread_is_drawn():
    assert "100 % of crop" in calibration_chart(ONE, eps=0, max_eps=0.5).about
