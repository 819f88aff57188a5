"""What a refresh would do is told, and nothing is done by telling it."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from pipeline import MODEL, Pipeline, copied
from tar_files import write_members

from curator_assets.cli.plan import planned, print_plan
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.encoder import Encoder
from curator_assets.engine.plan import plan
from curator_assets.engine.work import Purpose


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[::30]]


def drop(pipeline: Pipeline, name: str, *images: bytes) -> Path:
    path = pipeline.folder / "tars" / f"{name}.tar"
    write_members(path, [(f"{i}.jpg", image) for i, image in enumerate(images)])
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, photos) -> Path:
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(tmp_path_factory.mktemp("finished"), instance)
        for i in range(3):
            drop(pipeline, str(i), photos[i], photos[5])
        assert pipeline.refresh()
    return pipeline.folder


@pytest.fixture
def refreshed(finished, tmp_path) -> Iterator[Pipeline]:
    with copied(finished, tmp_path / "project") as pipeline:
        yield pipeline


def everything(pipeline: Pipeline) -> tuple:
    """All files with their contents and times, and all that the instance knows."""
    files = {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(pipeline.folder.rglob("*"))
        if path.is_file() and path.name != "curator.yaml"
    }
    instance = pipeline.instance
    events = [
        instance.fetch_materializations(key, limit=1000).records
        for key in instance.all_asset_keys()
    ]
    return files, pipeline.shards(), len(instance.get_runs()), [len(found) for found in events]


def test_a_plan_changes_nothing_anywhere(refreshed, photos, capsys):
    drop(refreshed, "new", photos[6])
    drop(refreshed, "1", photos[7], photos[5])  # replaced
    os.utime(refreshed.folder / "tars/2.tar", (1, 1))  # touched: it has to be read
    (refreshed.folder / "tars/0.tar").unlink()
    refreshed.changes["duplicates"] = {"eps": 0.02}
    before = everything(refreshed)
    intake, work = planned(refreshed.instance, refreshed.settings)
    plans = {found.stage.name: found for found in plan(GRAPH.stages, work)}
    print_plan(list(plans.values()), intake, work)
    assert everything(refreshed) == before
    assert plans["image_embeddings"].stale == {
        "1": "changed: tar_shards",
        "new": "never made",
    }
    assert plans["image_embeddings"].n_fresh == 1


def test_a_plan_names_what_would_be_let_go_of(refreshed, capsys):
    (refreshed.folder / "tars/1.tar").unlink()
    intake, work = planned(refreshed.instance, refreshed.settings)
    print_plan(plan(GRAPH.stages, work), intake, work)
    printed = capsys.readouterr().out
    assert "1 tar is gone: 1" in printed
    assert "what was made of it goes to trash/" in printed


def test_embeddings_of_another_kind_of_device_are_made_again(refreshed, monkeypatch):
    monkeypatch.setattr(Encoder, "device_type", lambda _: "cuda")
    assert set(refreshed.plan()["image_embeddings"].stale.values()) == {"changed: arithmetic"}


def test_embeddings_in_another_precision_are_made_again(refreshed):
    refreshed.changes["model"] = MODEL | {"precision": "bfloat16"}
    (reason,) = set(refreshed.plan()["image_embeddings"].stale.values())
    assert "arithmetic" in reason


# a setting -> the assets that it makes stale
COVERED = {
    "recall_queries": ({"duplicates": {"recall_queries": 7}}, set()),
    "max_search_share": ({"duplicates": {"max_search_share": 0.5}}, set()),
    "seed without random": ({"duplicates": {"seed": 7}}, set()),
    "keep": ({"duplicates": {"keep": "random"}}, {"duplicate_groups"}),
    "max_eps": ({"duplicates": {"max_eps": 0.06}}, {"cluster_assignments"}),
    "n_iterations": ({"clusters": {"n_clusters": 4, "n_iterations": 3}}, {"centroids"}),
    "batch_size": ({"model": MODEL | {"batch_size": 8}}, set()),
}


@pytest.mark.parametrize(("changes", "expected"), COVERED.values(), ids=list(COVERED))
def test_a_setting_makes_stale_what_it_shapes_and_nothing_else(refreshed, changes, expected):
    clusters = {"clusters": {"n_clusters": 4, "n_cell_groups": 2} | changes.get("clusters", {})}
    refreshed.changes = changes | clusters
    plans = refreshed.plan()
    stale = {name for name, found in plans.items() if found.stale}
    assert stale - {"curation_report"} == expected
    if "max_eps" in changes.get("duplicates", {}):
        assert plans["centroids"].n_fresh == 1


def test_a_public_head_is_not_fetched_by_looking(refreshed, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download")

    monkeypatch.setattr("urllib.request.urlretrieve", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    refreshed.changes["model"] = MODEL | {"name": "ViT-L-14", "pretrained": "openai"}
    refreshed.changes["heads"] = {"aesthetic": {"weights": "fetch"}}
    _, work = planned(refreshed.instance, refreshed.settings)
    assert work.purpose is Purpose.PLAN
    found = {f.stage.name: f for f in plan(GRAPH.stages, work)}
    assert not found["filter_scores"].n_fresh
    assert set(found["image_embeddings"].undecided.values()) == {"undecided: weights not here yet"}
