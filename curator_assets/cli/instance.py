"""The Dagster instance of a project, opened by commands that run or look at it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import dagster as dg

from curator_assets.cli.console import say
from curator_assets.project import HOME_VARIABLE, home_in_force, own_home

DAGSTER_YAML = "dagster.yaml"


@contextmanager
def project_instance(settings_file: Path, *, own: bool = False) -> Iterator[dg.DagsterInstance]:
    """The instance of a project, made if it is the project's own and not there yet.

    $DAGSTER_HOME names it from then on, for what this process starts.

    Args:
        settings_file: of the project.
        own: take the project's own, whatever $DAGSTER_HOME says.

    Raises:
        SettingsError: $DAGSTER_HOME is no folder, or is the instance of another project.
    """
    home = own_home(settings_file) if own else home_in_force(settings_file)
    if home == own_home(settings_file):
        make_home(settings_file)
    os.environ[HOME_VARIABLE] = str(home)
    with (home / ".opening.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that set up one SQLite file would spoil it
        instance = dg.DagsterInstance.get()
        instance.get_runs_count()
    with instance:
        yield instance


@contextmanager
def looked_at_instance(settings_file: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of a project as it is; an empty one in memory if there is none yet."""
    home = home_in_force(settings_file)
    if not (home / "history").is_dir() and home == own_home(settings_file):
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance
        return
    with project_instance(settings_file) as instance:
        yield instance


def make_home(settings_file: Path) -> None:
    """Make the folder of a project's own instance; says how Dagster's commands find it."""
    home, configured = own_home(settings_file), settings_file.parent / DAGSTER_YAML
    if not home.is_dir():
        home.mkdir()
        if HOME_VARIABLE not in _env_file(settings_file):
            say(f"Dagster's own commands find this project after: export {HOME_VARIABLE}={home}")
    if (home / DAGSTER_YAML).exists():
        return
    if configured.is_file():
        (home / DAGSTER_YAML).symlink_to(f"../{DAGSTER_YAML}")
        return
    with as_file(files("curator_assets.cli").joinpath("project", DAGSTER_YAML)) as template:
        shutil.copyfile(template, home / DAGSTER_YAML)


def _env_file(settings_file: Path) -> str:
    path = settings_file.parent / ".env"
    return path.read_text() if path.is_file() else ""
