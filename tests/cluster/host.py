"""A machine that runs `curate` on a project, as far as processes of one machine can play it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from pipeline import MODEL

from curator_assets.cli.init import init

_NOT_OURS = ("AWS_", "DAGSTER_", "CURATOR_")


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        status: its exit status.
        told: what it printed, on stdout and stderr.
    """

    status: int
    told: str


class Host:
    """A folder with settings, and a home and a temporary folder that no other host has.

    Args:
        folder: a new one.
        source: where the tars lie.
        output: where results go.
        environment: variables beside those that every process has, such as the server's.
    """

    def __init__(
        self, folder: Path, source: str, output: str, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.project = folder / "project"
        init(self.project, None)
        path = self.project / "curator.yaml"
        settings = yaml.safe_load(path.read_text())
        clusters = {"n_clusters": 4, "n_cell_groups": 2}
        model = MODEL | {"device": "cpu"}
        chosen = {"source": source, "output": output, "model": model, "clusters": clusters}
        path.write_text(yaml.safe_dump(settings | chosen))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_OURS)}
        self._environment = inherited | environment
        for name, variable in (("home", "HOME"), ("tmp", "TMPDIR"), ("cache", "XDG_CACHE_HOME")):
            (folder / name).mkdir()
            self._environment[variable] = str(folder / name)
        self._environment |= {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "SOURCE_DATE_EPOCH": "1700000000",
            "COLUMNS": "200",
        }
        self._log = folder / "told.txt"

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command, killed with all that it started where it still runs when the block ends."""
        command = [sys.executable, "-m", "curator_assets", *words]
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.project,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                kill(process)

    def ended(self, process: subprocess.Popen[bytes]) -> Ended:
        """Wait for a command of this host."""
        return Ended(process.wait(), self._log.read_text())

    def run(self, *words: str) -> Ended:
        """Run a command to its end."""
        with self.running(*words) as process:
            return self.ended(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a command and its workers as a power cut does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
