"""The memory of a run does not grow with the size of a shard."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml
from pipeline import MODEL

from curator_assets.demo.photos import crops

MIB = 1 << 20
N_SAMPLES = 64
LIMIT_MIB = 210
"""More than a shard of small images takes: 64 MiB being decoded, and a few parts of 24 read."""

# Embeds and curates the one shard of a project, and prints the peak memory of this process and of
# its workers, in KiB.
RUN = """
import resource
import sys
from pathlib import Path
import dagster as dg
from curator_assets.cli.refresh import run
from curator_assets.engine.workers import idle
from curator_assets.settings_file import load_settings

with dg.DagsterInstance.ephemeral() as instance:
    assert run(instance, load_settings(Path(sys.argv[1])), force=False)
idle.end_idle()
both = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
print(max(resource.getrusage(who).ru_maxrss for who in both))
"""


def write_shard(path: Path, n_samples: int, side: int, sidecar: bytes) -> None:
    """Uncompressed photographs of side x side pixels, each with a sidecar."""
    with tarfile.open(path, "w") as tar:
        for i, crop in enumerate(crops()[:n_samples]):
            photo = io.BytesIO()
            crop.image.convert("RGB").resize((side, side)).save(photo, "BMP")
            for ext, data in (("bmp", photo.getvalue()), ("npy", sidecar)):
                info = tarfile.TarInfo(f"{i:03d}.{ext}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def peak_mib(folder: Path, side: int, sidecar: bytes) -> tuple[float, float]:
    """Of a run over one shard; and the size of the shard."""
    (folder / "tars").mkdir(parents=True)
    tar = folder / "tars/a.tar"
    write_shard(tar, N_SAMPLES, side, sidecar)
    settings = {"source": "tars", "output": "curated", "model": MODEL}
    path = folder / "curator.yaml"
    path.write_text(yaml.safe_dump(settings))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.splitlines()[-1]) / 1024, tar.stat().st_size / MIB


def test_a_large_shard_is_embedded_and_curated_in_bounded_memory(tmp_path):
    small, _ = peak_mib(tmp_path / "small", 64, b"")
    large, size = peak_mib(tmp_path / "large", 1200, bytes(6 * MIB))
    assert size > 3 * LIMIT_MIB  # or the limit would show nothing
    assert large - small < LIMIT_MIB, (small, large)
