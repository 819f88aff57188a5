"""Projects whose images are embedded, without any image, of this commit and of an earlier one.

What is made of them is made by children on one thread, each with its own commit's package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from search_cost import ONE_THREAD, read_shards, write_settings, write_shards
from synthetic_vectors import clip_like

BEFORE = "d587dfb"
ROOT = Path(__file__).parents[1]
SHARD_ROWS = 8192
CHILDREN = {"before": "search_before.py", "now": "search_now.py"}
"""The sides: the earlier commit and this one."""


def run(script: str, *words: object, path: Path = ROOT) -> dict[str, Any]:
    """The last line, as JSON, of what a child on one thread prints; with a package on its path."""
    command = [sys.executable, str(Path(__file__).parent / script), *map(str, words)]
    paths = [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{command[1:]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads((done.stdout.splitlines() or ["{}"])[-1])
    return found


class Projects:
    """Projects over the same vectors, the embeddings of each side and size written once.

    Args:
        folder: for what is to be gone in the end.
        kept: for vectors and the earlier commit, which another run can use; on the same disk.
        width: D of the vectors.
        seed: of the vectors.
    """

    def __init__(self, folder: Path, kept: Path, width: int, seed: int) -> None:
        self._folder, self._kept = folder, kept
        self._width, self._seed = width, seed

    def vectors(self, n_images: int) -> Path:
        """A .npy of float32 [N, D] unit vectors."""

        def draw(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, clip_like(n_images, self._width, self._seed))

        return _once(self._kept / f"vectors-{n_images}x{self._width}-{self._seed}.npy", draw)

    def package(self, side: str) -> Path:
        """The folder below which the package of a side lies."""
        return ROOT if side == "now" else _once(self._kept / BEFORE, _check_out)

    @contextmanager
    def project(
        self,
        side: str,
        n_images: int,
        max_eps: float,
        *,
        rows: Iterable[range] = (),
        **changed: dict[str, Any],
    ) -> Iterator[Path]:
        """A project of embedded images; what is made of it is gone in the end.

        Args:
            side: whose.
            n_images: which vectors.
            max_eps: of the search.
            rows: of the vectors, a shard each; by default all, in shards of one size.
            changed: settings by section.
        """
        ranges = list(rows) or shard_ranges(0, n_images)

        def write(path: Path) -> None:
            path.mkdir()
            write_settings(path, max_eps)
            self.add(side, path, n_images, {f"{i:05d}": r for i, r in enumerate(ranges)})

        written = _once(self._folder / f"{side}-{n_images}-{ranges[-1].stop}", write)
        with self.copy(written) as folder:
            write_settings(folder, max_eps, **changed)
            yield folder

    @contextmanager
    def copy(self, project: Path) -> Iterator[Path]:
        """A project of the same files, which are linked, as whatever changes one writes another."""
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="project-") as folder:
            subprocess.run(["cp", "-rl", f"{project}/.", folder], check=True)
            yield Path(folder)

    def add(self, side: str, folder: Path, n_images: int, shards: dict[str, range]) -> None:
        """Embedded shards of rows of the vectors, after those that a project has."""
        rows = [f"{name}:{r.start}:{r.stop}" for name, r in shards.items()]
        self.run(side, folder, "--vectors", self.vectors(n_images), "--shards", *rows)
        write_shards(folder, [*read_shards(folder), *shards])

    def run(self, side: str, *words: object) -> dict[str, Any]:
        """What a side's child tells."""
        return run(CHILDREN[side], *words, path=self.package(side))


def shard_ranges(start: int, stop: int) -> list[range]:
    """Rows in shards of one size, but for the last."""
    return [range(i, min(i + SHARD_ROWS, stop)) for i in range(start, stop, SHARD_ROWS)]


def _once(path: Path, make: Callable[[Path], None]) -> Path:
    """A path, with what lies there made if it does not."""
    if not path.exists():
        unfinished = path.with_name(f"{path.name}.unfinished")
        subprocess.run(["rm", "-rf", str(unfinished)], check=True)
        make(unfinished)
        unfinished.rename(path)
    return path


def _check_out(path: Path) -> None:
    """The package as it was at the earlier commit."""
    path.mkdir()
    command = ["git", "archive", BEFORE, "curator_assets"]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", str(path)], input=archive, check=True)
