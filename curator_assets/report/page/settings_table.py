"""The settings in force as rows of a table: key, value, default and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class SettingRow:
    """One key of `curator.yaml`.

    Attributes:
        key: its dotted name.
        value: in words.
        default: likewise; None where a value must be given.
        is_chosen: whether it is not as by default.
        about: what it means.
    """

    key: str
    value: str
    default: str | None
    is_chosen: bool
    about: str


def setting_rows(
    shown: Mapping[str, Any], model: type[BaseModel], prefix: str = ""
) -> Iterator[SettingRow]:
    """A row a setting; those in lists and mappings under a key of their own.

    Args:
        shown: the settings as they may be shown; what is not in it has no row.
        model: of which they are.
        prefix: of their keys.
    """
    for name, field in model.model_fields.items():
        if name not in shown:
            continue
        key, value, inner = f"{prefix}{name}", shown[name], _model_in(field.annotation)
        if inner is None or not value:
            yield _row(key, value, field)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                yield from setting_rows(item, inner, f"{key}[{i}].")
        elif not get_args(field.annotation):
            yield from setting_rows(value, inner, f"{key}.")
        else:
            for item_name, item in value.items():
                yield from setting_rows(item, inner, f"{key}.{item_name}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a value is, or that its items are."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _row(key: str, value: Any, field: FieldInfo) -> SettingRow:
    default = field.get_default(call_default_factory=False)
    default = list(default) if isinstance(default, tuple) else default
    words, told = _words(value), None if field.is_required() else _words(default)
    is_chosen = words != told and value != default
    return SettingRow(key, words, told, is_chosen, field.description or "")


def _words(value: Any) -> str:
    """A value as `curator.yaml` has it, nothing as none."""
    if value is None or value in ([], {}):
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
