"""What a refresh asks of an S3 server, counted on the way; a no-op asks little of any size."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from encoders import make_tiny
from object_server import ObjectServer, object_server, weed
from pipeline import Pipeline
from storage_proxy import StorageProxy, storage_proxy
from tar_files import write_members

from curator_assets.cli.plan import planned
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.plan import plan
from curator_assets.engine.workers import supervision
from curator_assets.storage import lease

pytestmark = pytest.mark.skipif(weed() is None, reason="no `weed`, SeaweedFS's program")

N_FIRST, N_MORE = 3, 6
REQUESTS, REQUESTS_A_SHARD = 220, 95
"""Of a first run, at most: whatever its size, and for each of its small shards."""

BYTES, BYTES_A_SHARD = 600_000, 400_000
"""Likewise, both ways."""

REQUESTS_OF_NOTHING = 60
"""Of a refresh that makes nothing, at most."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("server")) as server:
        server.client().create_bucket(Bucket="bucket")
        yield server


@pytest.fixture
def proxy(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageProxy]:
    with storage_proxy(server.port) as proxy:
        for name, value in server.environment(endpoint=proxy.endpoint).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A project on the server, whose encoder is tiny and runs in this process."""
    monkeypatch.setattr(supervision, "runs_here", lambda work: True)
    monkeypatch.setattr("curator_assets.storage.lease.BEAT_SECONDS", 3600)  # they go by the clock
    monkeypatch.setattr(lease, "BEAT_SECONDS", 600)  # or a slow machine would count more of them
    weights = make_tiny(tmp_path) / "tiny.safetensors"
    model = {"name": "tiny", "pretrained": str(weights), "batch_size": 4, "precision": "float32"}
    places = {"source": "s3://bucket/tars", "output": "s3://bucket/curated"}
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(tmp_path, instance, {**places, "model": model})


def drop(server: ObjectServer, folder: Path, shards: range) -> None:
    photos = [_jpeg(crop.image) for crop in crops()[::60]]
    for i in shards:
        path = folder / f"dropped/{shards}/{i % 2}/{i}.tar"
        write_members(path, [(f"{i}-{j}.jpg", photos[(2 * i + j) % len(photos)]) for j in range(2)])
    server.copy_in(folder / f"dropped/{shards}", "bucket", "tars")


@contextmanager
def counted(proxy: StorageProxy) -> Iterator[Counter[str]]:
    """Filled with how many requests of each kind the block made."""
    counts = Counter[str]()
    proxy.requests.clear()
    yield counts
    counts.update(proxy.counts())


def test_few_requests(server, proxy, pipeline, tmp_path):
    drop(server, tmp_path, range(N_FIRST))
    with counted(proxy) as first:
        assert pipeline.refresh()
    assert first.total() <= REQUESTS + N_FIRST * REQUESTS_A_SHARD, first
    assert sum(proxy.n_bytes()) <= BYTES + N_FIRST * BYTES_A_SHARD
    with counted(proxy) as nothing:
        assert pipeline.refresh()
    assert nothing.total() <= REQUESTS_OF_NOTHING, nothing
    with counted(proxy) as planning, pipeline.store.pictured():
        _, work = planned(pipeline.instance, pipeline.settings)
        assert not any(found.stale for found in plan(GRAPH.stages, work))
    drop(server, tmp_path, range(N_FIRST, N_FIRST + N_MORE))
    assert pipeline.refresh()
    with counted(proxy) as nothing_of_more:
        assert pipeline.refresh()
    # the drop is one object more of the order of arrival, which is read three times
    assert nothing_of_more.total() == nothing.total() + 3, nothing_of_more - nothing
    with counted(proxy) as planning_more, pipeline.store.pictured():
        _, work = planned(pipeline.instance, pipeline.settings)
        assert not any(found.stale for found in plan(GRAPH.stages, work))
    assert planning_more.total() == planning.total() + 1, planning_more - planning
    n_listings = math.ceil(len(pipeline.store.names("")) / 1000)
    assert n_listings == 1
