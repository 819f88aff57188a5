"""`curate plan` as a user sees it: what a refresh would cost."""

import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import write_settings
from tar_files import write_members

from curator_assets.cli.forecast_lines import forecast_lines
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.questions.forecast.expected_bytes import ExpectedBytes
from curator_assets.questions.forecast.expected_images import ExpectedImages
from curator_assets.questions.forecast.expected_seconds import ExpectedSeconds
from curator_assets.questions.forecast.forecast import ExpectedSearch, Forecast
from curator_assets.questions.forecast.ranges import Range

NAMES = ["to embed", "pairs", "to read", "to write", "time"]


@pytest.fixture
def project(here) -> Path:
    write_settings(here)
    photos = [_jpeg(crop.image) for crop in crops()[:240:40]]
    members = [(f"{i}.jpg", image) for i, image in enumerate([*photos, photos[0]])]
    write_members(here / "tars/a.tar", members)
    return here


def told(output: str) -> dict[str, str]:
    """The lines of the forecast by their names."""
    lines = output.splitlines()
    return {name: line[10:] for name in NAMES for line in lines if line.startswith(name)}


def test_the_cost_is_told_below_the_table_until_nothing_is_to_be_made(run, project):
    before = run("plan")
    assert before.exit_code == 0, before.output
    assert list(told(before.stdout)) == NAMES
    guessed = told(before.stdout)["to embed"]
    assert "images, likely 7, of 1 tar" in guessed
    assert "no rate is known yet on this machine (cpu, " in told(before.stdout)["time"]
    exact = run("plan", "--exact")
    assert told(exact.stdout)["to embed"] == "6 images of 1 tar (of 7; 1 is copied)"
    assert run("refresh").exit_code == 0
    after = run("plan")
    assert not told(after.stdout)
    assert "nothing to make: all is up to date" in after.stdout


def test_a_plan_imports_no_torch(project):
    script = (
        "import sys; from curator_assets.cli.main import curate\n"
        "try: curate(['plan', '--exact'], prog_name='curate')\n"
        "except SystemExit: print([m for m in ('torch', 'faiss', 'open_clip') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=project
    )
    assert "to embed" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def images(n_images: Range, n_encoded: Range, n_reused: Range, **unread: str) -> ExpectedImages:
    return ExpectedImages(n_images, n_encoded, n_reused, 0, unread)


def lines(**changes) -> dict[str, str]:
    plain = {
        "images": images(Range.of(0), Range.of(0), Range.of(0)),
        "n_to_embed": 0,
        "search": None,
        "n_bytes": ExpectedBytes(Range(1e9, 1.2e9), Range.of(5e6), True),
        "time": ExpectedSeconds(Range(660, 1080), 3, ()),
        "machine": "cpu, Some CPU, 2 cores",
    }
    return told("\n".join(forecast_lines(Forecast(**plain | changes))))


def test_ranges_are_rounded_and_what_is_known_is_not():
    guessed = images(Range(11_876, 12_345), Range(9_812, 10_412), Range(1_604, 2_204))
    assert lines(images=guessed, n_to_embed=12)["to embed"] == (
        "9,810-10,400 images, likely 10,100, of 12 tars (of 11,900-12,300; 1,600-2,200 are copied)"
    )
    counted = images(Range.of(12_345), Range.of(12_345), Range.of(0))
    assert lines(images=counted, n_to_embed=12)["to embed"] == "12,345 images of 12 tars"
    one = images(Range.of(2), Range.of(1), Range.of(1))
    assert lines(images=one, n_to_embed=1)["to embed"] == ("1 image of 1 tar (of 2; 1 is copied)")
    assert lines()["to embed"] == "no images"
    assert lines(images=None, n_to_embed=2)["to embed"] == (
        "the images of 2 tars, whose number can't be told"
    )
    assert lines()["to read"] == "1.0 GB to 1.2 GB"
    assert lines()["to write"] == "5.0 MB"


def test_a_search_is_said_to_be_full_or_of_what_is_new():
    assert lines()["pairs"] == "none to compare"
    drop = ExpectedSearch(Range.of(50_000), Range.of(0.031), Range(0.02, 0.04))
    assert lines(search=drop)["pairs"] == (
        "0.062-0.124 % of those of 50,000 images to compare, of 3.1 % in a full search"
    )
    removal = ExpectedSearch(Range.of(50_000), Range.of(0.031), Range.of(0))
    assert lines(search=removal)["pairs"] == (
        "none of 50,000 images to compare: all that stay were compared before"
    )
    other = ExpectedSearch(None, None, Range.of(1))
    assert lines(search=other)["pairs"] == (
        "a full search of all images; the share to compare is not known before it"
    )


def test_the_time_names_what_it_leaves_out():
    where = "on this machine (cpu, Some CPU, 2 cores)"
    assert lines()["time"] == f"about 14 min (11 min to 18 min), by the last refreshes {where}"
    some = ExpectedSeconds(Range(660, 1080), 1, ("image_embeddings",))
    assert lines(time=some)["time"] == (
        f"no rate of image_embeddings is known yet {where}; all else takes about 14 min (11 min "
        "to 18 min), by the last refresh"
    )
    none = ExpectedSeconds(None, 0, ("image_embeddings",))
    assert lines(time=none)["time"] == f"no rate is known yet {where}: it is after one refresh"
    uncounted = lines(images=None, n_to_embed=2, time=ExpectedSeconds(None, 0, ()))
    assert uncounted["time"] == "that of embedding can't be told without the number of images"
    others = lines(images=None, n_to_embed=2)["time"]
    assert others.startswith("that of embedding can't be told without")
    assert others.endswith("all else takes about 14 min (11 min to 18 min), by the last refreshes")
