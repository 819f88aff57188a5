"""`curate init`: a folder becomes a project."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from curator_assets.cli.home import make_home
from curator_assets.cli.templates import FILES, project_file, settings_text
from curator_assets.project import HOME_VARIABLE, SETTINGS, own_home
from curator_assets.settings_file import SettingsError, load_settings, parse_settings

ENV = ".env"
DEFAULT_SOURCE = "tars"

_NAMES_HOME = re.compile(rb"\s*(export\s+)?" + HOME_VARIABLE.encode() + rb"\s*=")
_WRITTEN_HERE = re.compile(HOME_VARIABLE.encode() + rb"='.*/\.dagster'\s*$")


@dataclass
class Written:
    """What `init` did with each file; the source, where it is no folder yet."""

    new: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    missing_source: str | None = None


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
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in [(SETTINGS, text), *((name, project_file(name)) for name in FILES)]:
        is_new = _write_new(folder / name, content.encode())
        (written.new if is_new else written.left).append(name)
    _write_env(folder / ENV, own_home(settings_file), written)
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


def _write_env(path: Path, home: Path, written: Written) -> None:
    """Have Dagster's commands find the instance: they read this file in the folder they run in.

    A line that a person wrote stays; one that `init` wrote, as before a move, does not.
    """
    quoted = str(home).replace("\\", "\\\\").replace("'", "\\'")
    line = f"{HOME_VARIABLE}='{quoted}'\n".encode()
    if _write_new(path, line):
        written.new.append(path.name)
        return
    lines = [] if path.is_symlink() else path.read_bytes().splitlines(keepends=True)
    named = [other for other in lines if _NAMES_HOME.match(other)]
    if path.is_symlink() or not all(_WRITTEN_HERE.match(other) for other in named):
        written.left.append(path.name)
        return
    others = [other for other in lines if other not in named]
    others += [b"\n"] if others and not others[-1].endswith(b"\n") else []
    if named == [line]:
        written.left.append(path.name)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    partial.write_bytes(b"".join([*others, line]))
    partial.replace(path)
    written.new.append(path.name)
