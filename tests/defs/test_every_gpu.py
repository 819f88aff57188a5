import os
import signal

import pytest
from tar_files import write_members

from curator_assets.defs import image_embeddings
from curator_assets.defs.every_gpu import WorkerDiedError, on_every_device
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.refresh import work_on
from curator_assets.resources import Encoder


def test_two_processes_write_what_one_writes(pipeline, monkeypatch):
    photos = [_jpeg(crop.image) for crop in crops()[::20]]
    for i in range(4):
        members = [(f"{k}.jpg", photo) for k, photo in enumerate(photos[i * 2 : i * 2 + 3])]
        write_members(pipeline.folder / f"tars/{i}.tar", members)

    def embedded() -> tuple[set[str], dict[str, bytes]]:
        work = work_on(pipeline.instance, pipeline.settings)
        made = list(image_embeddings.stage(work).make(list(work.shards)))
        files = (pipeline.folder / "curated/embeddings").glob("*.parquet")
        return {outcome.partition for outcome in made}, {f.name: f.read_bytes() for f in files}

    one = embedded()
    monkeypatch.setattr(Encoder, "devices", lambda _: ["cpu", "cpu"])
    assert embedded() == one
    assert one[0] == set("0123")


def _dies(work, shards):
    next(shards)
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def test_a_killed_process_is_named(pipeline):
    (pipeline.folder / "tars").mkdir()
    work = work_on(pipeline.instance, pipeline.settings)
    with pytest.raises(WorkerDiedError, match=r"on cpu ended with exit code -9"):
        list(on_every_device(_dies, ["cpu"], work, ["a"]))
