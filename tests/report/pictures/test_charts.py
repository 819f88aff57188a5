"""The charts at both ends of what data can be: legible, and without warnings or names of users."""

import logging
import re
from collections.abc import Callable
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from drawn_charts import assert_texts_are_apart, drawn
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from curator_assets.report.numbers.score_distributions import ScoreCounts, Span
from curator_assets.report.pictures import charts, figures, findings
from curator_assets.report.pictures.chart_rendering import (
    BLUE,
    GREEN,
    GROUNDS,
    VERMILLION,
)
from curator_assets.report.pictures.charts import draw_charts, score_chart
from curator_assets.settings import Settings

Draw = Callable[[], Figure]
PLACES = {"source": "tars", "output": "curated"}


def score(values: list[float] | np.ndarray, *, weight: int = 1, **bounds: float) -> ScoreCounts:
    """The counts of a score; each value stands for `weight` images."""
    settings = Settings(**PLACES, filters=[{"score": "width", **bounds}] if bounds else [])
    values = np.asarray(values, float)
    counts = ScoreCounts("width", Span(values.min(), values.max()), settings)
    frame = pl.DataFrame({"readable": True, "score:width": values})
    counts.add(frame)
    counts.counts *= weight
    return counts


def curve(n: int, max_eps: float, n_eps: int = 13) -> pl.DataFrame:
    eps = np.linspace(0, max_eps, n_eps)
    return pl.DataFrame({"eps": eps, "n_removed": (n * (eps / max_eps) ** 2).astype(np.int64)})


def sizes(n_groups: dict[int, int]) -> pl.DataFrame:
    return pl.DataFrame({"size": list(n_groups), "n_groups": list(n_groups.values())})


def cells(n_cells: int, n_images: int, removed: float) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    shares = rng.pareto(1.5, n_cells) + 0.1
    n = (n_images * shares / shares.sum()).astype(np.int64)
    x, y = rng.normal(size=(2, n_cells))
    n_kept = (n * (1 - removed * rng.random(n_cells))).astype(np.int64)
    return pl.DataFrame({"n_images": n, "n_kept": n_kept, "x": x, "y": y})


def pairs(n_shards: int, most: int) -> np.ndarray:
    counts = np.zeros((n_shards, n_shards), np.int64)
    np.fill_diagonal(counts, np.linspace(1, most, n_shards).astype(np.int64))
    return counts


EXTREMES: dict[str, Draw] = {
    "curve of a billion": lambda: figures.draw_eps_curve(curve(10**9, 0.1), 0.1, 0.09),
    "curve of one": lambda: figures.draw_eps_curve(curve(1, 0.05), 0.05, 0.0001),
    "curve of none": lambda: figures.draw_eps_curve(curve(0, 0.05, 2), 0.03, 0.03),
    "1 to 1e9": lambda: figures.draw_score(score(np.geomspace(1, 1e9, 300), min=20, max=1e8)),
    ".001 to 1000": lambda: figures.draw_score(score(np.geomspace(0.001, 1000, 300), max=2)),
    "3 to 7": lambda: figures.draw_score(score(np.linspace(3, 7, 300), min=99999, max=2e6)),
    "one value": lambda: figures.draw_score(score([640], weight=10**9, min=200)),
    "nearly one value": lambda: figures.draw_score(score(1.7e9 + np.linspace(0, 200, 99))),
    "tiny values": lambda: figures.draw_score(score(np.linspace(-1e-7, 1e-7, 99), min=-1e-7)),
    "groups of two": lambda: figures.draw_group_sizes(sizes({2: 1})),
    "few groups": lambda: figures.draw_group_sizes(sizes({2: 40, 3: 5, 19: 1})),
    "group of 100,000": lambda: figures.draw_group_sizes(sizes({100_000: 1})),
    "many groups": lambda: figures.draw_group_sizes(sizes({2: 10**8, 3: 10**6, 100_000: 1})),
    "one shard": lambda: figures.draw_shard_pairs(pairs(1, 1)),
    "200 shards": lambda: figures.draw_shard_pairs(pairs(200, 10**7)),
    "one cell": lambda: figures.draw_cells(cells(1, 1, 0)),
    "5,000 cells": lambda: figures.draw_cells(cells(5000, 10**9, 1)),
    "size of one cell": lambda: figures.draw_cell_sizes(np.array([0])),
    "sizes of 5,000 cells": lambda: figures.draw_cell_sizes(np.arange(5000) * 10**5),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_no_text_touches_another_or_the_edge(name, caplog):
    figure, _ = drawn(EXTREMES[name])
    assert_texts_are_apart(figure)
    assert not caplog.records


NAMES = ["حروف", "עברית", "देवनागरी", "漢字", "🦩👩‍🚀", "x" * 300, "$x^2$", "<b>&\x00\u202e"]


def given_and_numbers(names: list[str], n: int = 7) -> tuple[SimpleNamespace, SimpleNamespace]:
    """What charts are drawn from, its shards and scores called so."""
    scores = [score([1.0, 2.0, n]) for _ in names]
    for each, name in zip(scores, names, strict=True):
        each.score = name
    tables = {
        "eps_curve": curve(n, 0.05),
        "group_sizes": sizes({2: n}),
        "shard_pairs": pl.DataFrame(
            {"shard": names, "kept_shard": names[::-1], "n_duplicates": [n] * len(names)}
        ),
        "cells": cells(9, n * 9, 0.5),
    }
    settings = Settings(**PLACES, duplicates={"eps": 0.05, "max_eps": 0.05})
    given = SimpleNamespace(settings=settings, shards=names, calibration=None)
    counts, recommendation = SimpleNamespace(scores=scores), SimpleNamespace(eps=None)
    numbers = SimpleNamespace(tables=tables, counts=counts, recommendation=recommendation)
    return given, numbers


def test_names_in_any_script_make_no_warning_and_stand_in_no_chart(caplog):
    with caplog.at_level(logging.INFO):
        found = draw_charts(*given_and_numbers(NAMES))
    assert not caplog.records
    others = {"eps_curve", "group_sizes", "shard_pairs", "cells", "cell_sizes"}
    assert set(found) == others | {score_chart(name) for name in NAMES}
    for chart in found.values():
        assert not any(name in chart.svg for name in NAMES)


def test_the_file_of_a_score_of_any_length_has_a_name_of_its_own():
    names = {score_chart("é" * n) for n in range(1, 400)}
    assert len(names) == 399
    assert max(map(len, names)) <= 200


def test_a_chart_is_an_image_with_a_name_a_finding_and_ids_of_its_own():
    found = draw_charts(*given_and_numbers(["a", "b"]))
    seen = list[str]()
    for chart in found.values():
        root = ElementTree.fromstring(chart.svg)
        title, about = root[0], root[1]
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{title.get('id')} {about.get('id')}"
        assert (title.text, about.text) == (chart.title, chart.about)
        ids = re.findall(r'\bid="([^"]*)"', chart.svg)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', chart.svg)) < set(ids)
        seen += ids
    assert len(seen) == len(set(seen))


def test_equal_figures_give_equal_bytes_and_others_do_not():
    once, again = (draw_charts(*given_and_numbers(["a"])) for _ in range(2))
    assert once == again
    other = draw_charts(*given_and_numbers(["a"], n=8))
    assert {name for name in once if once[name].svg == other[name].svg} == set()


def test_a_file_has_its_own_ground_and_is_well_formed_and_the_page_gives_the_colors():
    chart = draw_charts(*given_and_numbers(["a"]))["eps_curve"]
    root = ElementTree.fromstring(chart.file)
    rect = root.find("{http://www.w3.org/2000/svg}rect")
    assert rect is not None and rect.get("fill") == GROUNDS["light"][1]
    for ink, ground in GROUNDS.values():
        assert ink in chart.file and ground in chart.file
        assert ink not in chart.svg and ground not in chart.svg
    assert "<style" not in chart.svg and "currentColor" in chart.svg
    assert set(re.findall(r"var[^)]*\)", chart.svg)) == {f"var(--kept, {BLUE})"}
    assert not re.search(": #[0-9a-f]{6}", chart.svg)


def test_a_person_s_own_matplotlibrc_changes_nothing():
    import matplotlib as mpl

    before = draw_charts(*given_and_numbers(["a"]))
    with mpl.rc_context({"axes.grid": True, "lines.linewidth": 9, "axes.xmargin": 0.4}):
        assert draw_charts(*given_and_numbers(["a"])) == before


def linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    found: np.ndarray = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return found


def luminance(color: str) -> float:
    return float(linear(color) @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lightness_and_hue(color: str) -> np.ndarray:
    """A colour in OKLab, where distances are those that people see."""
    cones = np.cbrt(
        np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        )
        @ linear(color)
    )
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    found: np.ndarray = np.array(to_lab) @ cones
    return found


@pytest.mark.parametrize("mode", GROUNDS)
def test_marks_stand_out_from_the_ground(mode):
    ink, ground = GROUNDS[mode]
    assert contrast(ink, ground) > 7
    for color in (BLUE, VERMILLION, GREEN, *figures.KEPT_TO_REMOVED):
        assert contrast(color, ground) >= 3


def test_the_color_map_rises_in_even_steps():
    lab = np.array([lightness_and_hue(color) for color in figures.KEPT_TO_REMOVED])
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert steps.max() < 1.1 * steps.min()
    assert (np.diff(lab[:, 0]) > 0).all()


def test_what_is_dropped_is_as_high_as_there_are_images():
    counts = score([1.0, 1.01, 1.02, 1.03, 5, 9, 9], min=1.015, max=8)
    figure, _ = drawn(lambda: figures.draw_score(counts))
    everything, dropped = figure.axes[0].patches
    assert everything.get_data().values.sum() == 7
    assert dropped.get_data().values[[0, -1]].tolist() == [2, 2]
    assert dropped.get_data().values.sum() == 4
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"min 1.015: 2 below", "max 8: 2 above"}
    assert findings.of_score(counts) == (
        "7 readable images have values from 1 to 9; 2 lie below 1.015; 2 lie above 8."
    )


def test_of_several_rules_the_tightest_is_shown():
    rules = [{"score": "width", "min": bound} for bound in (2, 4, 3)]
    counts = ScoreCounts("width", Span(1, 9), Settings(**PLACES, filters=rules))
    counts.add(pl.DataFrame({"readable": True, "score:width": [1.0, 3.5, 9.0]}))
    assert counts.kept_at_bounds() == [("min", 4, 1)]


def test_findings_say_one_and_many():
    removed = pl.DataFrame({"eps": [0.0, 0.01, 0.03, 0.05], "n_removed": [0, 12, 34, 1060]})
    assert findings.of_eps_curve(removed, 0.03, 0.04) == (
        "34 images are removed at eps 0.03, 12 at 0.01, 1,060 at 0.05. Recommended: eps 0.04."
    )
    one = pl.DataFrame({"eps": [0.03], "n_removed": [1]})
    assert findings.of_eps_curve(one, 0.03, None) == "1 image is removed at eps 0.03."
    assert findings.of_group_sizes(sizes({2: 1})) == "1 group, of 2 images."
    assert findings.of_group_sizes(sizes({2: 40, 3: 1})) == (
        "Of 41 groups, 40 have 2 images; the largest has 3 images."
    )
    assert findings.of_cell_sizes(np.array([1])) == (
        "1 cluster: the largest holds 1 image, the median 1, the smallest 1."
    )
    assert findings.of_score(score([3])) == "1 readable image has the value 3."
    assert findings.of_shard_pairs(np.array([[1]])) == (
        "1 duplicate, in shard 1 with the image kept."
    )
    assert findings.of_shard_pairs(np.array([[0, 1], [0, 0]])) == (
        "1 duplicate, in shard 1 with the kept image in shard 2."
    )


def test_more_shards_than_a_heat_map_holds_have_none():
    given, numbers = given_and_numbers([str(i) for i in range(charts.MAX_HEAT_MAP_SHARDS + 1)])
    numbers.counts.scores = []
    assert "shard_pairs" not in draw_charts(given, numbers)
