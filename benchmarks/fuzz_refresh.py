"""The real refresh over the tars of a temporary project, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

LIMIT_SECONDS = 1200


def refresh_in(folder: Path) -> tuple[int, str] | None:
    """Exit status and output of a refresh of `folder/tars` into `folder/out`; None if it hung."""
    model = {"name": "efficientnet_lite0", "pretrained": "imagenet", "precision": "float32"}
    settings = {"source": "tars", "output": "out", "model": model}
    (folder / "curator.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "curator_assets", "refresh"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode, done.stdout + done.stderr
