"""The settings file: where it lies, how it is read, and what is said of what it has wrong."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from curator_assets.errors import UserError, did_you_mean
from curator_assets.settings import Settings
from curator_assets.storage.filesystem import lies_in, resolved


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
        if path != settings_file():
            raise SettingsError(f"no settings file at {path}") from None
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
    if raw is None:
        raise SettingsError(f"{path} is empty; `curate init FOLDER` writes one to begin with")
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: expected a mapping at top level, got {type(raw).__name__}")
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(f"{path}: " + "; ".join(_explain(e) for e in error.errors())) from None
    try:
        settings = _anchored(settings, path.parent)
    except ValueError as error:
        raise SettingsError(f"{path}: a path in it can't be one: {error}") from None
    _require_apart(settings, path)
    return settings


def with_ray(settings: Settings, address: str) -> Settings:
    """The settings with another `cluster.ray`.

    Raises:
        SettingsError: they don't go with it.
    """
    cluster = settings.cluster.model_dump() | {"ray": address}
    try:
        return Settings.model_validate(settings.model_dump() | {"cluster": cluster})
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(e) for e in error.errors())) from None


def settings_file() -> Path:
    """The absolute path of the settings file in force."""
    return Path(os.environ.get("CURATOR_CONFIG") or "curator.yaml").absolute()


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: only the last of them would count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; raises ConstructorError for a repeated key."""
        seen = set[Any]()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key != "<<" and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parsed(text: str, path: Path) -> object:
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark, about = error.problem_mark, " ".join(filter(None, (error.context, error.problem)))
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise SettingsError(f"{path} is not valid YAML:{where} {about}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _explain(error: object) -> str:
    assert isinstance(error, dict)
    where = ".".join(str(part) for part in error["loc"]) or "settings"
    message = str(error["msg"]).removeprefix("Value error, ").replace("tuple", "list")
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
    if lies_in(settings.output, settings.source):
        raise SettingsError(
            f"{path}: output {settings.output} lies inside source {settings.source}: curated tars "
            "would be taken for new ones; choose a folder outside it"
        )
    if lies_in(settings.source, settings.output):
        raise SettingsError(
            f"{path}: source {settings.source} lies inside output {settings.output}: what is made "
            "could take the place of your tars; choose an output beside the source"
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
            "source": resolved(settings.source, folder),
            "output": resolved(settings.output, folder),
            "model": settings.model.model_copy(update={"pretrained": pretrained}),
            "heads": heads,
        }
    )
