"""A project whose tars have names that are patterns to a shell or to fsspec, wherever it lies."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import fsspec
import numpy as np
import pytest
from PIL import Image
from pipeline import Pipeline
from tar_files import write_members

from curator_assets.engine.workers import supervision
from curator_assets.report.pictures import charts
from curator_assets.report.pictures.chart_rendering import Chart

PATTERNS = {"x[1]": "x1", "a*": "ab", "q?": "qq"}
"""A name that would match the other one."""

NAMES = [*PATTERNS, *PATTERNS.values()]
NAME_PLACES = (
    "lease/",
    "ledger/",
    "metadata/",
    "report/index.html",
    "report/last_summary.json",
    "report/summary.json",
    "source.txt",
    "trash/let_go/",
    "trash/ledger/",
    "trash/metadata/",
)
"""What holds the place of the source, numbers of refreshes, or times."""


def tars(folder: Path) -> Mapping[str, bytes]:
    """Shard -> its tar of one image, unlike all others; the folder is for work."""
    found = {}
    for i, name in enumerate(NAMES):
        pixels = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = io.BytesIO()
        Image.fromarray(pixels).resize((64, 64)).save(image, "png")
        write_members(folder / "tar", [("0.png", image.getvalue())])
        found[name] = (folder / "tar").read_bytes()
    return found


@dataclass
class Place:
    """Where tars lie and results go.

    Attributes:
        source: URI or folder of the tars.
        output: of the results.
        put: writes an object or file of a name, below where both lie.
        remove: removes one.
        contents: name -> bytes of all below a folder.
    """

    source: str
    output: str
    put: Callable[[str, bytes], object]
    remove: Callable[[str], object]
    contents: Callable[[str], Mapping[str, bytes]]


def local(folder: Path) -> Place:
    def put(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def contents(below: str) -> dict[str, bytes]:
        root = folder / below
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    return Place("tars", "out", put, lambda name: (folder / name).unlink(), contents)


def memory(folder: Path) -> Place:
    fs, root = fsspec.filesystem("memory"), f"/{folder.name}"

    def contents(below: str) -> dict[str, bytes]:
        start = f"{root}/{below}/"
        return {p[len(start) :]: fs.cat_file(p) for p in list(fs.store) if p.startswith(start)}

    return Place(
        f"memory:/{root}/tars",
        f"memory:/{root}/out",
        lambda name, data: fs.pipe_file(f"{root}/{name}", data),
        lambda name: fs.rm_file(f"{root}/{name}"),
        contents,
    )


@dataclass
class States:
    """Name -> bytes of the results with all tars, without those named as patterns, with all again.

    What names places, counts refreshes or tells times is left out.
    """

    before: dict[str, bytes]
    gone: dict[str, bytes]
    after: dict[str, bytes]


def states(place: Place, tars: Mapping[str, bytes], folder: Path) -> States:
    """Refresh three times."""
    changes = {"source": place.source, "output": place.output, "max_removed_fraction": 1}
    changes |= {"clusters": {"n_clusters": 2, "n_cell_groups": 1}}
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as cheaper:
        cheaper.setenv("SOURCE_DATE_EPOCH", "1700000000")
        cheaper.setattr(supervision, "runs_here", lambda _: True)
        cheaper.setattr(charts, "render", lambda name, _, **words: Chart(name, "<svg>", **words))
        pipeline = Pipeline(folder, instance, changes)

        def refreshed() -> dict[str, bytes]:
            assert pipeline.refresh()
            found = place.contents("out")
            return {name: data for name, data in found.items() if not name.startswith(NAME_PLACES)}

        for name, tar in tars.items():
            place.put(f"tars/{name}.tar", tar)
        before = refreshed()
        for name in PATTERNS:
            place.remove(f"tars/{name}.tar")
        gone = refreshed()
        for name in PATTERNS:
            place.put(f"tars/{name}.tar", tars[name])
        return States(before, gone, refreshed())


def assert_same(found: States, expected: States) -> None:
    """The same files with the same bytes."""
    for theirs, ours in zip(vars(expected).values(), vars(found).values(), strict=True):
        assert sorted(ours) == sorted(theirs)
        assert [name for name in theirs if ours[name] != theirs[name]] == []
