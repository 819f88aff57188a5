"""The settings file: where it lies, how it is read, and what is said of what it has wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from curator_assets.errors import UserError, did_you_mean
from curator_assets.settings import Settings


class SettingsError(UserError, ValueError):
    """The settings file is missing or says something that can't be done."""


def load_settings(path: Path | None = None) -> Settings:
    """The settings in `path`, else in $CURATOR_CONFIG, else in ./curator.yaml.

    Relative `source`, `output`, head and checkpoint paths are taken from the file's own folder.

    Raises:
        SettingsError: the file is missing, is not YAML, or a value is refused; says where.
    """
    path = settings_file() if path is None else path.absolute()
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise SettingsError(
            f"no settings file at {path}; go to the folder of one, write one with `curate init "
            "FOLDER`, or name another in CURATOR_CONFIG"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from None
    return parse_settings(text, path)


def parse_settings(text: str, path: Path) -> Settings:
    """The settings in the text of a file, absolute, that does not have to be there yet.

    Raises:
        SettingsError: it is not YAML, or a value is refused; says where.
    """
    raw = _parsed(text, path)
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: expected a mapping at top level, got {type(raw).__name__}")
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(f"{path}: " + "; ".join(_explain(e) for e in error.errors())) from None
    settings = _anchored(settings, path.parent)
    _require_apart(settings, path)
    return settings


def settings_file() -> Path:
    """The absolute path of the settings file in force."""
    return Path(os.environ.get("CURATOR_CONFIG") or "curator.yaml").absolute()


def _parsed(text: str, path: Path) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark, about = error.problem_mark, " ".join(filter(None, (error.context, error.problem)))
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise SettingsError(f"{path} is not valid YAML:{where} {about}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _explain(error: object) -> str:
    assert isinstance(error, dict)
    where = ".".join(str(part) for part in error["loc"]) or "settings"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_did_you_mean_key(error['loc'])}"
    if error["type"] == "missing":
        return f"{where}: required, but missing"
    if error["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message}, got {error['input']!r}"


def _did_you_mean_key(location: tuple[str | int, ...]) -> str:
    """The keys of its section that come close to an unknown one; else all of them."""
    section: object = Settings
    for part in location[:-1]:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation
        else:  # an item of a list, or a value of a mapping
            section = get_args(section)[-1 if get_origin(section) is dict else 0]
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return ""
    known = list(section.model_fields)
    return did_you_mean(str(location[-1]), known) or f"; known here: {', '.join(known)}"


def _require_apart(settings: Settings, path: Path) -> None:
    source, output = settings.source.rstrip("/") + "/", settings.output.rstrip("/") + "/"
    if output.startswith(source):
        raise SettingsError(
            f"{path}: output {settings.output} lies inside source {settings.source}: curated tars "
            "would be taken for new ones; choose a folder outside it"
        )


def _anchored(settings: Settings, folder: Path) -> Settings:
    def anchor(location: str) -> str:
        return location if "://" in location else str((folder / location).resolve())

    pretrained = settings.model.pretrained
    if (folder / pretrained).is_file():
        pretrained = anchor(pretrained)
    heads = {
        score: head
        if head.weights == "fetch"
        else head.model_copy(update={"weights": anchor(head.weights)})
        for score, head in settings.heads.items()
    }
    return settings.model_copy(
        update={
            "source": anchor(settings.source),
            "output": anchor(settings.output),
            "model": settings.model.model_copy(update={"pretrained": pretrained}),
            "heads": heads,
        }
    )
