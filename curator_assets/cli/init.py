"""`curate init`: a folder becomes a project."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from curator_assets.cli.home import make_home
from curator_assets.cli.templates import FILES, project_file, settings_text
from curator_assets.project import HOME_VARIABLE, SETTINGS, own_home
from curator_assets.settings_file import SettingsError, parse_settings

ENV = ".env"
DEFAULT_SOURCE = "tars"


@dataclass
class Written:
    """What `init` did with each file."""

    new: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def init(folder: Path, source: str | None) -> Written:
    """Write what a project needs into a folder; what is there already is left as it is.

    Args:
        folder: made if missing.
        source: where the tars lie: a URI, or a path from here.

    Raises:
        SettingsError: the source can't be one, or the settings that are there name their own.
    """
    folder = folder.absolute()
    settings_file, written = folder / SETTINGS, Written()
    if source is not None and settings_file.exists():
        raise SettingsError(
            f"{settings_file} is there already and names its own source; edit it there, or run "
            "this without --source to write what else is missing"
        )
    text = settings_text(_scalar(_below(folder, source)))
    if not settings_file.exists():
        parse_settings(text, settings_file)  # or a source that can't be one would be found later
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in [(SETTINGS, text), *((name, project_file(name)) for name in FILES)]:
        if (folder / name).exists():
            written.left.append(name)
        else:
            (folder / name).write_text(content)
            written.new.append(name)
    home = str(own_home(settings_file)).replace("\\", "\\\\").replace("'", "\\'")
    _write_env(folder / ENV, f"{HOME_VARIABLE}='{home}'", written)
    make_home(settings_file)
    return written


def _below(folder: Path, source: str | None) -> str:
    """A source as the settings name it: from their folder if it lies below, else from the root."""
    if source is None:
        return DEFAULT_SOURCE
    if "://" in source:
        return source
    path = Path(source).absolute()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _scalar(text: str) -> str:
    """A string in YAML, quoted if it must be."""
    return yaml.safe_dump([text], default_flow_style=True, width=10**6, allow_unicode=True).strip()[
        1:-1
    ]


def _write_env(path: Path, line: str, written: Written) -> None:
    """Have Dagster's commands find the instance: they read this file in the folder they run in."""
    lines = path.read_text().splitlines() if path.exists() else []
    if line in lines:
        written.left.append(path.name)
        return
    others = [other for other in lines if not other.startswith(f"{HOME_VARIABLE}=")]
    path.write_text("\n".join([*others, line, ""]))
    written.new.append(path.name)
