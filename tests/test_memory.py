"""The memory of a run does not grow with the size of a shard."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

MIB = 1 << 20
N_SMALL, N_LARGE = 16, 64
"""Of the first, which only tells what is taken in any case, few are enough."""

LIMIT_MIB = 210
"""More than a shard of small images takes: 64 MiB being decoded, and a few parts of 24 read."""

SLOW = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 128,
        "layers": 12,
        "width": 128,
        "head_width": 32,
        "patch_size": 8,
    },
    "text_cfg": {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1},
}
"""A model that takes long over an image, and little memory: whatever may be read ahead of it is."""

# Embeds and curates one project after the other, each of one shard, in the same processes. Prints
# the peak memory of this one and of its worker for each project, in KiB.
RUN = """
import sys
from pathlib import Path
import dagster as dg
import psutil
from curator_assets.cli.refresh import run
from curator_assets.engine.workers import idle
from curator_assets.settings_file import load_settings

def peak(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kib,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the next peak is counted from here
    return int(kib)

for path in sys.argv[1:]:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, load_settings(Path(path)), force=False)
    (worker,) = psutil.Process().children()
    print(peak("self"), peak(worker.pid))
idle.end_idle()
"""


@pytest.fixture
def slow_model(tmp_path) -> dict:
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_cfg": SLOW, "preprocess_cfg": {"mean": [0] * 3, "std": [1] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    state = open_clip.CLIP(**SLOW).state_dict()
    save_file(state, folder / "open_clip_model.safetensors")
    return {"name": f"local-dir:{folder}", "batch_size": 1, "precision": "float32"}


def write_shard(path: Path, n: int, side: int, sidecar: bytes) -> None:
    """Uncompressed images of side x side pixels, each with a sidecar."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for i in range(n):
            file = io.BytesIO()
            Image.frombytes("RGB", (side, side), rng.bytes(3 * side**2)).save(file, "BMP")
            for ext, data in (("bmp", file.getvalue()), ("npy", sidecar)):
                info = tarfile.TarInfo(f"{i:03d}.{ext}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def write_project(folder: Path, model: dict, n: int, side: int, sidecar: bytes) -> Path:
    (folder / "tars").mkdir(parents=True)
    write_shard(folder / "tars/a.tar", n, side, sidecar)
    settings = {"source": "tars", "output": "curated", "model": model}
    settings["duplicates"] = {"eps": 0, "max_eps": 1e-4}
    path = folder / "curator.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_large_shard_is_embedded_and_curated_in_bounded_memory(tmp_path, slow_model):
    small = write_project(tmp_path / "small", slow_model, N_SMALL, 64, b"")
    large = write_project(tmp_path / "large", slow_model, N_LARGE, 1200, bytes(6 * MIB))
    command = [sys.executable, "-c", RUN, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    of_small, of_large = np.array([line.split() for line in done.stdout.splitlines()], int) / 1024
    (curated,) = tmp_path.glob("large/curated/shards/**/a*.tar")
    assert curated.stat().st_size > 3 * LIMIT_MIB * MIB  # or the limit would show nothing
    assert (of_large - of_small).max() < LIMIT_MIB, (of_small, of_large)
