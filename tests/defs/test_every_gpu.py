import os
import signal

import pytest
from pipeline import MODEL
from tar_files import write_members

from curator_assets.defs import image_embeddings
from curator_assets.defs.every_gpu import WorkerDiedError, on_every_device
from curator_assets.defs.stage import Made
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.refresh import work_on
from curator_assets.resources import Encoder


def test_two_processes_write_what_one_writes(pipeline, monkeypatch, device):
    pipeline.changes = {"model": MODEL | {"device": device}}
    place = "cpu" if device == "cpu" else "cuda:0"
    photos = [_jpeg(crop.image) for crop in crops()[::20]]
    for i in range(4):
        members = [(f"{k}.jpg", photo) for k, photo in enumerate(photos[i * 2 : i * 2 + 3])]
        write_members(pipeline.folder / f"tars/{i}.tar", members)

    def embedded(n_processes: int) -> dict[str, bytes]:
        """The table of each shard, once made."""
        monkeypatch.setattr(Encoder, "devices", lambda _: [place] * n_processes)
        work = work_on(pipeline.instance, pipeline.settings)
        made = list(image_embeddings.stage(work).make(list(work.shards)))
        assert all(isinstance(outcome, Made) for outcome in made), made
        tables = {
            outcome.partition: pipeline.folder / "curated" / outcome.files[0] for outcome in made
        }
        return {shard: table.read_bytes() for shard, table in tables.items()}

    one = embedded(1)
    assert one.keys() == set("0123")
    assert embedded(2) == one


def _dies(work, shards):
    next(shards)
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def test_a_killed_process_is_named(pipeline):
    (pipeline.folder / "tars").mkdir()
    work = work_on(pipeline.instance, pipeline.settings)
    with pytest.raises(WorkerDiedError, match=r"on cpu ended with exit code -9"):
        list(on_every_device(_dies, ["cpu"], work, ["a"]))
