"""`curate init`: a folder becomes a project."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from curator_assets.cli.env_file import ENV, set_variable
from curator_assets.cli.home import DAGSTER_YAML, make_home
from curator_assets.cli.templates import FILES, postgres_instance, project_file, settings_text
from curator_assets.project import DATABASE_VARIABLE, HOME_VARIABLE, SETTINGS, own_home
from curator_assets.settings_file import SettingsError, load_settings, parse_settings

DEFAULT_SOURCE = "tars"

_GITIGNORE = ".gitignore"
_IGNORES_ENV = {ENV, f"/{ENV}", f"{ENV}*", "*.env"}

_WRITTEN_HERE = re.compile(HOME_VARIABLE.encode() + rb"='.*/\.dagster'\s*$")


@dataclass
class Written:
    """What `init` did with each file; the source, where it is no folder yet.

    Attributes:
        is_ignored: git is told to leave out what holds a password, if anything does.
    """

    new: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    missing_source: str | None = None
    is_ignored: bool = True

    def note(self, name: str, is_new: bool) -> None:
        """Take up what was done with a file."""
        (self.new if is_new else self.left).append(name)


def init(folder: Path, source: str | None, postgres: str | None = None) -> Written:
    """Write what a project needs into a folder; what is there already is left as it is.

    Args:
        folder: made if missing.
        source: where the tars lie: a URI, or a path from here.
        postgres: the URL of a database to keep the Dagster instance in, also if it was elsewhere.

    Raises:
        SettingsError: the source can't be one, or the settings that are there name their own; or
            a person's own `dagster.yaml` is in the way of the database.
        NotInstalledError: the extra for the database is missing.
        PostgresError: there is no such database.
    """
    folder = folder.absolute()
    settings_file, written = folder / SETTINGS, Written()
    if source is not None and os.path.lexists(settings_file):
        raise SettingsError(
            f"{settings_file} is there already and names its own source; edit it there, or run "
            "this without --source to write what else is missing"
        )
    if not _is_text(f"{folder}{source}"):
        raise SettingsError(
            f"{str(folder)!r}: expected a path of readable characters, got bytes that are no "
            "UTF-8; rename the folder"
        )
    text = settings_text(_scalar(_below(folder, source)))
    if not os.path.lexists(settings_file):
        parse_settings(text, settings_file)  # or a source that can't be one would be found later
    url = None
    if postgres is not None:
        from curator_assets.cli.postgres import checked_url  # or each `init` would import Dagster

        _require_own(folder, settings_file)
        url = checked_url(postgres)
    folder.mkdir(parents=True, exist_ok=True)
    if url is not None:
        _keep_in_postgres(folder, settings_file, url, written)
    for name, content in [(SETTINGS, text), *((name, project_file(name)) for name in FILES)]:
        if name not in written.new:
            written.note(name, _write_new(folder / name, content.encode()))
    home = os.fspath(own_home(settings_file))
    is_new = set_variable(folder / ENV, HOME_VARIABLE, home, replaces=_WRITTEN_HERE)
    if ENV not in written.new:
        written.note(ENV, is_new)
    make_home(settings_file)
    location = load_settings(settings_file).source
    if "://" not in location and not Path(location).is_dir():
        written.missing_source = location
    return written


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    flow = yaml.safe_dump([text], default_flow_style=True, width=10**6, allow_unicode=True)
    return flow.strip().removeprefix("[").removesuffix("]")


def _write_new(path: Path, content: bytes) -> bool:
    """Write a file, whole or not at all, if there is nothing of its name; whether it did."""
    if os.path.lexists(path):
        return False
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        partial.write_bytes(content)
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True


def _require_own(folder: Path, settings_file: Path) -> None:
    """Refuse to change what a person wrote, before anything is written."""
    for path in (folder / DAGSTER_YAML, own_home(settings_file) / DAGSTER_YAML):
        if not path.exists():
            continue
        there = path.read_text()
        if there != project_file(DAGSTER_YAML) and DATABASE_VARIABLE not in there:
            raise SettingsError(
                f"{path} is there already and was not written by `curate init`, so it is left as "
                f"it is; to keep the instance in Postgres, have it say {{storage: {{postgres: "
                f"{{postgres_url: {{env: {DATABASE_VARIABLE}}}}}}}}} and run this again, or delete "
                "it"
            )
    if (folder / ENV).is_symlink():
        raise SettingsError(
            f"{folder / ENV} is a link, so no password is written there; delete it, or leave out "
            f"--postgres and name the URL as {DATABASE_VARIABLE} in the environment"
        )


def _keep_in_postgres(folder: Path, settings_file: Path, url: str, written: Written) -> None:
    """Have the instance kept in a database, whose URL lies where only its owner reads it."""
    is_new = set_variable(folder / ENV, DATABASE_VARIABLE, url, is_secret=True)
    if is_new:
        written.new.append(ENV)
    for path in (folder / DAGSTER_YAML, own_home(settings_file) / DAGSTER_YAML):
        if path.exists() and path.read_text() == project_file(DAGSTER_YAML):
            path.unlink()  # that in the home becomes a link to that of the project
    if _write_new(folder / DAGSTER_YAML, postgres_instance().encode()):
        written.new.append(DAGSTER_YAML)
    ignores = folder / _GITIGNORE
    if _write_new(ignores, f"{ENV}\n.dagster/\n".encode()):
        written.new.append(_GITIGNORE)
    else:
        written.is_ignored = bool(_IGNORES_ENV.intersection(ignores.read_text().split()))
