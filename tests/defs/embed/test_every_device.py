import os
import signal

import pytest
from pipeline import MODEL
from tar_files import write_members

from curator_assets.defs.embed.every_device import WorkerDiedError, on_every_device
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.encoder import Encoder
from curator_assets.engine.making import Finished, finished
from curator_assets.engine.stage import Advanced


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
        work = pipeline.work()
        outcomes = finished(IMAGE_EMBEDDINGS, work.shards, work)
        found = [outcome for outcome in outcomes if not isinstance(outcome, Advanced)]
        assert all(isinstance(outcome, Finished) for outcome in found), found
        tables = {
            o.made.partition: pipeline.folder / "curated" / next(iter(o.files)) for o in found
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
    work = pipeline.work()
    with pytest.raises(WorkerDiedError, match=r"on cpu ended with exit code -9"):
        list(on_every_device(_dies, ["cpu"], work, ["a"]))
