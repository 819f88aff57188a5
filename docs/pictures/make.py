"""The pictures that README shows: the report on a dataset of drawn shapes.

    make pictures    # writes docs/pictures/*.png; needs Chromium

A seeded hand draws scenes of a few shapes, and copies some of them: compressed again, made
smaller, cut, made brighter.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageEnhance
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
N_SCENES, N_COPIED, N_SHARDS = 240, 60, 6
WIDTH, HEIGHT = 480, 360
PALETTE = (
    *("#0b3954", "#bfd7ea", "#ff6663", "#e0ff4f", "#fefffe", "#5f0f40", "#fb8b24", "#0f4c5c"),
    *("#2d6a4f", "#95d5b2", "#7b2cbf", "#c77dff", "#6c584c", "#dde5b6", "#d62828", "#003049"),
)
ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "compressed": lambda image: image,
    "smaller": lambda image: image.resize((WIDTH // 2, HEIGHT // 2)),
    "cut": lambda image: image.crop((14, 10, WIDTH - 14, HEIGHT - 10)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}
SETTINGS = """
source: source
output: curated
model: { name: efficientnet_lite0, pretrained: imagenet }
filters:
  - { score: mean_luminance, min: 0.07 }
  - { score: sharpness, min: 2.2 }
duplicates: { eps: 0.03, max_eps: 0.05, keep: first }
"""


def main() -> None:
    """Draw, refresh, calibrate, and take the pictures."""
    home = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    project = Path(tempfile.gettempdir(), "drawn_shapes")  # the page shows where its source lies
    project.mkdir()
    try:
        write_project(project)
        for command in ("refresh", "calibrate", "refresh"):
            curate = [sys.executable, "-m", "curator_assets", command]
            subprocess.run(curate, cwd=project, env=home, check=True)
        take(project / "curated/report/index.html")
    finally:
        shutil.rmtree(project)


def write_project(folder: Path) -> None:
    """Tars of scenes, their copies, a black image and a broken one, and the settings."""
    (folder / "source").mkdir(parents=True)
    (folder / "curator.yaml").write_text(SETTINGS)
    samples = list(drawn())
    for shard in range(N_SHARDS):
        with tarfile.open(folder / "source" / f"{shard:05d}.tar", "w") as tar:
            for key, data in samples[shard::N_SHARDS]:
                member = tarfile.TarInfo(f"{key}.jpg")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def drawn() -> Iterator[tuple[str, bytes]]:
    """Key and JPEG file of each sample."""
    for number in range(N_SCENES):
        yield f"{number:03d}", jpeg(scene(number), 90)
    copied = Random(0).sample(range(N_SCENES), N_COPIED)
    kinds = list(ALTERED.items())
    for i, number in enumerate(copied):
        name, alter = kinds[i % len(kinds)]
        yield f"{number:03d}_{name}", jpeg(alter(scene(number)), 60)
    yield "black", jpeg(Image.new("RGB", (WIDTH, HEIGHT), "#030303"), 90)
    yield "broken", jpeg(scene(N_SCENES), 90)[:2000]


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as a JPEG file."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return data.getvalue()


def scene(number: int) -> Image.Image:
    """A slope of two colours, maybe a pattern, and a few shapes."""
    hand = Random(number)
    below, above = (Image.new("RGB", (WIDTH, HEIGHT), c) for c in hand.sample(PALETTE, 2))
    slope = Image.linear_gradient("L").rotate(hand.choice((0, 90, 180, 270)))
    image = Image.composite(above, below, slope.resize((WIDTH, HEIGHT)))
    draw = ImageDraw.Draw(image)
    draw_pattern(draw, hand)
    for _ in range(hand.randint(3, 11)):
        draw_shape(draw, hand)
    return image


def draw_pattern(draw: ImageDraw.ImageDraw, hand: Random) -> None:
    """Stripes, bars, dots or nothing."""
    kind, step, ink = hand.randrange(4), hand.randint(18, 60), hand.choice(PALETTE)
    for x in range(0, WIDTH + HEIGHT, step):
        if kind == 0:
            draw.line((x, 0, x - HEIGHT, HEIGHT), fill=ink, width=4)
        elif kind == 1:
            draw.line((x, 0, x, HEIGHT), fill=ink, width=3)
        elif kind == 2:
            for y in range(0, HEIGHT, step):
                draw.ellipse((x, y, x + step / 3, y + step / 3), fill=ink)


def draw_shape(draw: ImageDraw.ImageDraw, hand: Random) -> None:
    """One of five kinds, anywhere."""
    x, y, r = hand.randint(0, WIDTH), hand.randint(0, HEIGHT), hand.randint(20, 140)
    fill, other = hand.choice(PALETTE), hand.choice(PALETTE)
    match hand.randrange(5):
        case 0:
            draw.ellipse((x - r, y - 0.7 * r, x + r, y + 0.7 * r), fill=fill)
        case 1:
            draw.regular_polygon((x, y, r), hand.randint(3, 8), hand.randint(0, 90), fill=fill)
        case 2:
            box = (x - r, y - r / 2, x + r, y + r / 2)
            draw.rounded_rectangle(box, r / 5, fill=fill, outline=other, width=6)
        case 3:
            box, start = (x - r, y - r, x + r, y + r), hand.randint(0, 180)
            draw.arc(box, start, start + hand.randint(60, 180), fill=fill, width=14)
        case _:
            corners = [(x + hand.randint(-r, r), y + hand.randint(-r, r)) for _ in range(5)]
            draw.polygon(corners, fill=fill)


def take(report: Path) -> None:
    """The first screen in light mode, and how eps is chosen in dark mode."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        light = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
        light.goto(report.as_uri())
        save(light, "first_screen.png")
        dark = browser.new_page(
            viewport={"width": 1280, "height": 880}, color_scheme="dark", reduced_motion="reduce"
        )
        dark.goto(report.as_uri())
        heading = dark.get_by_role("heading", name="What another eps would remove")
        heading.evaluate("heading => heading.scrollIntoView()")
        save(dark, "which_eps.png")
        browser.close()


def save(page: Page, name: str) -> None:
    """What the window shows, in a palette of 256 colours."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256).save(HERE / name, optimize=True)


if __name__ == "__main__":
    main()
