"""The folder of a project's Dagster instance."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from curator_assets.cli.console import say
from curator_assets.cli.templates import project_file
from curator_assets.project import HOME_VARIABLE, own_home

DAGSTER_YAML = "dagster.yaml"


def make_home(settings_file: Path) -> None:
    """Make the folder of a project's own instance; says how Dagster's commands find it."""
    home, env = own_home(settings_file), settings_file.parent / ".env"
    if not home.is_dir():
        home.mkdir(exist_ok=True)
        if not env.is_file() or HOME_VARIABLE.encode() not in env.read_bytes():
            say(f"Dagster's own commands find this project after: export {HOME_VARIABLE}={home}")
    if (home / DAGSTER_YAML).exists():
        return
    with suppress(FileExistsError):  # another process was first
        if (settings_file.parent / DAGSTER_YAML).is_file():
            (home / DAGSTER_YAML).symlink_to(f"../{DAGSTER_YAML}")
        else:
            with (home / DAGSTER_YAML).open("x") as file:
                file.write(project_file(DAGSTER_YAML))


def is_made(home: Path) -> bool:
    """Whether a folder is that of an instance."""
    return (home / DAGSTER_YAML).exists() or (home / "history").is_dir()
