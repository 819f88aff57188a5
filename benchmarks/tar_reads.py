"""How often a full run reads each tar, by stage: every read of every process is noted in a file.

A `sitecustomize` in the environment has each Python process of the refresh count from its start,
the workers too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

NOTES = "CURATE_TAR_READS"
LOOK, READ_BACK = "intake", "deduplicated_shards, read back"

_SITE = "import tar_reads; tar_reads.count()"
_REFRESH = "import tar_reads; tar_reads.refresh()"


def report(n_samples: int) -> None:
    """Refresh a demo project twice and print how many times the size of its tars was read."""
    from curator_assets.demo.samples import make_shards

    with tempfile.TemporaryDirectory(prefix="reads-") as folder:
        project = Path(folder).resolve()
        make_shards(project / "tars", n_samples=n_samples, seed=0)
        model = {"name": "efficientnet_lite0", "pretrained": "imagenet", "precision": "float32"}
        settings = {"source": "tars", "output": "out", "model": model}
        settings["clusters"] = {"n_cell_groups": 2}
        (project / "curator.yaml").write_text(yaml.safe_dump(settings))
        for title in ("from nothing", "again, nothing changed"):
            print(f"{title}:")
            for line in _lines(project, _refreshed(project)):
                print(f"  {line}")


def _refreshed(project: Path) -> dict[tuple[str, str], int]:
    """Path and stage -> bytes that were read."""
    notes, site = project / "notes", project / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_SITE)
    notes.write_text("")
    paths = [str(site), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {NOTES: str(notes), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", _REFRESH]
    subprocess.run(command, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
    found = defaultdict[tuple[str, str], int](int)
    for line in notes.read_text().splitlines():
        stage, path, n_bytes = line.split("\t")
        found[path, stage] += int(n_bytes)
    return found


def _lines(project: Path, found: dict[tuple[str, str], int]) -> Iterator[str]:
    """A line a tar, those of the source first."""
    of_tars = {key for key in found if key[0].endswith(".tar")}
    if not of_tars:
        yield "no tar was read"
    for path in sorted({path for path, _ in of_tars}, key=lambda p: ("/out/" in p, p)):
        size = Path(path).stat().st_size
        parts = {stage: n / size for (name, stage), n in found.items() if name == path}
        told = ", ".join(f"{stage} {times:.2f}" for stage, times in parts.items())
        name = str(Path(path).relative_to(project))
        yield f"{name:28}{size:10,} bytes, read {sum(parts.values()):.2f} times: {told}"


def refresh() -> None:
    """`curate refresh`, with the stage at work in each note."""
    from curator_assets.cli.main import curate
    from curator_assets.engine import making

    finish = making.finished

    def finished(stage: Any, *rest: Any) -> Any:
        _at[0] = stage.name
        yield from finish(stage, *rest)

    setattr(making, "finished", finished)  # noqa: B010
    _at[0] = LOOK
    curate(["refresh"], prog_name="curate")


_at = ["image_embeddings"]
"""The stage at work; of no other are there workers."""


def count() -> None:
    """Note every read of a tar in this process: path, stage, number of bytes."""
    if NOTES not in os.environ:
        return
    from fsspec.implementations.local import LocalFileOpener

    from curator_assets.storage.written_files import HashedFile

    notes = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND)

    def note(stage: str, path: str, data: bytes) -> None:
        os.write(notes, f"{stage}\t{path}\t{len(data)}\n".encode())

    read, read_back = LocalFileOpener.read, HashedFile.read

    def counted(self: Any, *n_bytes: int) -> bytes:
        data: bytes = read(self, *n_bytes)
        note(_at[0], os.path.realpath(self.path), data)
        return data

    def counted_back(self: Any, *n_bytes: int) -> bytes:
        data = read_back(self, *n_bytes)
        path = Path(self._file.name).resolve()
        if ".tar." in path.name:  # `.name.tar.writer.partial`
            tar = path.with_name(f"{path.name[1:].partition('.tar.')[0]}.tar")
            note(READ_BACK, str(tar), data)
        return data

    LocalFileOpener.read = counted
    setattr(HashedFile, "read", counted_back)  # noqa: B010
