"""`curate` in a process of its own, with what it does counted, in its workers too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from curator_assets.project import HOME_VARIABLE

COUNTED, READS = "COUNTED", "COUNTED_READS"
"""Variables that `counted/sitecustomize.py` reads."""


def curate(folder: Path, *words: str, with_reads: bool = False) -> str:
    """What a command of `curate` prints; the benchmark ends where it fails.

    Args:
        folder: of the project.
        words: of the command.
        with_reads: count what is read of files as well.
    """
    environment = {name: value for name, value in os.environ.items() if name != HOME_VARIABLE}
    paths = [str(Path(__file__).parent / "counted"), environment.get("PYTHONPATH")]
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment |= {COUNTED: str(folder / COUNTED)} | ({READS: "1"} if with_reads else {})
    done = subprocess.run(
        [sys.executable, "-m", "curator_assets", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{words} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def counts(folder: Path) -> list[dict[str, Any]]:
    """What commands counted in a project since this was last asked."""
    path = folder / COUNTED
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]
