"""A project: the folder of a settings file, and the Dagster instance that is its own."""

from __future__ import annotations

import os
from pathlib import Path

from curator_assets.settings_file import SettingsError

SETTINGS = "curator.yaml"
HOME_VARIABLE = "DAGSTER_HOME"
DATABASE_VARIABLE = "CURATOR_POSTGRES_URL"
"""Names the database of an instance that is kept in Postgres."""


def own_home(settings_file: Path) -> Path:
    """Where a project's instance lies if no other is named."""
    return settings_file.parent / ".dagster"


def home_in_force(settings_file: Path) -> Path:
    """The folder of the instance: $DAGSTER_HOME, else the project's own.

    Raises:
        SettingsError: $DAGSTER_HOME is no folder, or is the instance of another project.
    """
    given = os.environ.get(HOME_VARIABLE)
    if not given:
        return own_home(settings_file)
    home = Path(given)
    unset = f"unset it, and the instance is {own_home(settings_file)}"
    if home == own_home(settings_file):
        return home
    if not home.is_absolute() or not home.is_dir():
        raise SettingsError(
            f"{HOME_VARIABLE} is {given!r}; expected the absolute path of a folder: make it, or "
            f"{unset}"
        )
    other = home.resolve().parent / SETTINGS
    if home.name == own_home(settings_file).name and other.is_file():
        if other.parent == settings_file.resolve().parent:
            return home
        raise SettingsError(
            f"{HOME_VARIABLE} is {given}, the instance of the project in {other.parent}, but the "
            f"settings are {settings_file}: two projects in one instance take each other's shards "
            f"for removed ones; {unset} (a .env beside the settings may set it: after a move or a "
            "copy `curate init` writes it anew), or go to that project"
        )
    return home
