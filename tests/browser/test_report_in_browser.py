"""The report's page as a browser shows it: by `make test-browser`."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

HEIGHT = 800
FIRST_SCREEN = ["h1", ".made", "nav", ".verdicts .bar", ".verdicts .key", ".trust", ".strip"]


@dataclass
class Opened:
    """A page, and what happened while it was opened."""

    page: object
    width: int
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="module", params=["light", "dark"])
def scheme(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=[1280, 390])
def width(request) -> int:
    return request.param


@pytest.fixture(scope="module", params=["ordinary", "hostile"])
def opened(chromium, request, scheme, width) -> Iterator[Opened]:
    report = request.getfixturevalue(request.param)
    context = chromium.new_context(
        viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    found = Opened(page, width)
    page.on("request", lambda asked: found.requests.append(asked.url))
    page.on("console", lambda said: found.errors.append(said.text))
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.goto(report.as_uri())
    yield found
    context.close()


def test_no_request_leaves_it_and_nothing_goes_wrong(opened):
    assert opened.requests[0] == opened.page.url
    assert all(url.startswith("data:") for url in opened.requests[1:])
    assert opened.errors == []


def test_axe_finds_nothing(opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    all_details = opened.page.locator("details")
    all_details.evaluate_all("all => all.forEach(one => one.removeAttribute('name'))")
    all_details.evaluate_all("all => all.forEach(one => { one.open = true })")
    results = axe.Axe().run(opened.page)
    all_details.evaluate_all("all => all.forEach(one => { one.open = false })")
    assert results.response["passes"]
    assert results.violations_count == 0, results.generate_report()


def test_nothing_sticks_out_of_it_at_the_side(opened):
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= opened.width


def test_one_screen_says_what_was_removed_and_whether_to_trust_it(opened):
    boxes = {name: opened.page.locator(name).first.bounding_box() for name in FIRST_SCREEN}
    tops = [box["y"] for box in boxes.values()]
    assert tops == sorted(tops)
    if opened.width >= 1280:
        assert {n: b for n, b in boxes.items() if b["y"] + b["height"] > HEIGHT} == {}


def test_a_term_explains_itself_by_keyboard(opened):
    button = opened.page.locator("header .term").first
    meaning = opened.page.locator(f"#{button.get_attribute('popovertarget')}")
    assert not meaning.is_visible()
    button.focus()
    opened.page.keyboard.press("Enter")
    assert meaning.is_visible()
    box = meaning.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= opened.width
    opened.page.keyboard.press("Escape")
    assert not meaning.is_visible()


def test_a_pair_of_the_first_screen_can_be_seen_large(opened):
    pair = opened.page.locator(".strip details").first
    small = pair.locator("img").first.bounding_box()
    pair.locator("> summary").focus()
    opened.page.keyboard.press("Enter")
    large = [image.bounding_box() for image in pair.locator("img").all()]
    opened.page.keyboard.press("Enter")
    assert max(small["width"], small["height"]) < 240
    assert all(max(box["width"], box["height"]) >= 240 for box in large)
    kept, removed = large
    if opened.width >= 1280:
        assert kept["y"] == removed["y"] and kept["x"] + kept["width"] <= removed["x"]
    else:
        assert kept["y"] + kept["height"] <= removed["y"]
