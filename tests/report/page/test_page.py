"""What can be told of the page without a browser."""

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from curator_assets.report.page import rendering
from curator_assets.report.page.terms import TERMS
from curator_assets.settings import STATISTIC_COLUMNS

_FETCHED = {"src", "srcset", "href", "xlink:href", "action", "poster", "data", "background"}


class Elements(HTMLParser):
    """Every element of a page in order, those of charts apart: its name and its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.of_charts: list[tuple[str, dict[str, str | None]]] = []
        self._is_chart = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._is_chart |= tag == "svg"
        (self.of_charts if self._is_chart else self.found).append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self._is_chart &= tag != "svg"


@pytest.fixture(scope="module")
def text(finished) -> str:
    return (finished.folder / "curated/report/index.html").read_text()


@pytest.fixture(scope="module")
def elements(text):
    return Elements(text).found


def test_it_needs_nothing_beside_it_and_runs_nothing(text):
    parsed = Elements(text)
    elements = parsed.found + parsed.of_charts
    references = [
        value for _, found in elements for name, value in found.items() if name in _FETCHED
    ]
    assert len(references) > 50
    assert not [r for r in references if not r.startswith(("#", "data:image/"))]
    assert not [name for _, found in elements for name in found if name.startswith("on")]
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in elements}
    styles = re.findall(r"<style.*?</style>", text, re.DOTALL)
    assert styles and not [s for s in styles if re.search(r"url\((?!#)|@import", s)]


def test_whatever_is_pointed_at_is_there_once(elements):
    ids = Counter(found["id"] for _, found in elements if "id" in found)
    assert not [name for name, n in ids.items() if n > 1]
    pointed_at = [found["href"][1:] for tag, found in elements if tag == "a"]
    for name in ("popovertarget", "aria-labelledby"):
        pointed_at += [found[name] for _, found in elements if name in found]
    assert len(pointed_at) > 30
    assert not set(pointed_at) - set(ids)


def test_every_picture_says_which_image_it_is_and_keeps_its_place(elements):
    pictures = [found for tag, found in elements if tag == "img"]
    assert len(pictures) > 30
    for found in pictures:
        assert re.match(r"(kept|removed|not removed|just kept|just dropped) image .+", found["alt"])
        assert int(found["width"]) > 0 and int(found["height"]) > 0


def test_headings_go_down_a_level_at_a_time(elements):
    levels = [int(tag[1]) for tag, _ in elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(lower <= upper + 1 for upper, lower in pairwise(levels))


def test_each_pair_has_the_command_that_tells_more_of_it(text, finished):
    removed = set(finished.table("duplicates/groups.parquet")["id"])
    asked = re.findall(r"<code>curate explain ([^<]+)</code>", text)
    assert len(removed & set(asked)) > 5


def test_every_term_of_the_page_is_used_somewhere():
    templates = Path(rendering.__file__).parent.rglob("*.html.j2")
    used = set(re.findall(r'"([a-z_]+)"', "".join(path.read_text() for path in templates)))
    assert not set(TERMS) - used - set(STATISTIC_COLUMNS)
    assert set(STATISTIC_COLUMNS) <= set(TERMS)
