"""A small finished project for the tests of the report, and a copy of it to change."""

from collections.abc import Iterator

import dagster as dg
import pytest
import torch
from pipeline import Pipeline, copied

from curator_assets.demo.samples import make_shards

DIM = 1280


def changes() -> dict:
    return {
        "heads": {"beauty": {"weights": "beauty.pt", "embedding_model": "efficientnet_lite0"}},
        "filters": [
            {"score": "mean_luminance", "min": 0.25, "max": 0.8},
            {"score": "width", "min": 200},
        ],
        "duplicates": {"eps": 0.01, "max_eps": 0.03},
        "clusters": {"n_clusters": 6, "n_cell_groups": 2},
    }


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("report")
    make_shards(folder / "tars", n_samples=60, seed=0)
    weight = torch.linspace(-1, 1, DIM)[None]
    torch.save({"weight": weight, "bias": torch.zeros(1)}, folder / "beauty.pt")
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(folder, instance, changes())
        pipeline.run_all()
        yield pipeline


@pytest.fixture
def project(finished, tmp_path) -> Iterator[Pipeline]:
    with copied(finished.folder, tmp_path / "project", changes()) as pipeline:
        yield pipeline
