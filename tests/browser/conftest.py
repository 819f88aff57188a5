"""Headless Chromium, and reports to open in it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from pipeline import Pipeline
from tar_files import read_members, write_members

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
HOSTILE = "<script>alert(1)</script>\u202e" + "long" * 60


@pytest.fixture(scope="session")
def playwright():
    module = pytest.importorskip("playwright.sync_api", reason="needs the group `browser`")
    if CHROMIUM is None:
        pytest.skip("needs chromium or google-chrome on the PATH")
    return module


@pytest.fixture(scope="module")
def chromium(playwright, ordinary, hostile) -> Iterator:
    """The browser, once the reports are made: an event loop runs beside it, and theirs can't."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def ordinary(playwright, curated_folder) -> Path:
    """The report of a project with copies, captions and broken files."""
    return curated_folder / "curated/report/index.html"


@pytest.fixture(scope="session")
def hostile(playwright, curated_folder, tmp_path_factory) -> Path:
    """A report of names that are long, or that a page might take for its own."""
    folder = tmp_path_factory.mktemp("hostile")
    source = read_members(next((curated_folder / "tars").rglob("*.tar")))
    images = [data for name, data in source.items() if name.endswith(".jpg")][:2]
    members = []
    for key, data in ((f"{HOSTILE}0", images[0]), (f"{HOSTILE}1", images[0]), ("x", images[1])):
        members += [(f"{key}.jpg", data), (f"{key}.txt", 9 * f"{HOSTILE} ".encode())]
    write_members(folder / "tars" / "<b>$a_b$" / "<i>0.tar", members)
    (folder / "tars" / f"{HOSTILE[26:]}.tar.gz").touch()
    changes = {"clusters": {"n_clusters": 1, "n_cell_groups": 1}}
    with dg.DagsterInstance.ephemeral() as instance:
        Pipeline(folder, instance, changes).run_all()
    return folder / "curated/report/index.html"
