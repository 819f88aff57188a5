"""What is different since the last report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from curator_assets.storage import layout
from curator_assets.storage.store import Store


@dataclass(frozen=True)
class Change:
    """A number or a setting, then and now; None where there was or is none."""

    name: str
    before: Any
    now: Any

    @property
    def difference(self) -> float | None:
        """By how much a number grew."""
        numbers = isinstance(self.before, int | float) and isinstance(self.now, int | float)
        flags = isinstance(self.before, bool) or isinstance(self.now, bool)
        return self.now - self.before if numbers and not flags else None


def read_last(store: Store, now: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of the last report with other numbers; None if there is none that can be read.

    A report that is made again of the same numbers tells what it told before.
    """
    last = _read(store, layout.REPORT_SUMMARY)
    if last is None or last == json.loads(json.dumps(now)):
        return _read(store, layout.REPORT_LAST_SUMMARY)
    return last


def _read(store: Store, name: str) -> dict[str, Any] | None:
    try:
        summary = json.loads(store.read(name))
        list(_flat(summary if isinstance(summary, dict) else {}))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return summary if isinstance(summary, dict) else None


def changes(last: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What two summaries differ in, in the order of the newer one."""
    before, after = dict(_flat(last)), dict(_flat(now))
    names = [*after, *(name for name in before if name not in after)]
    pairs = [Change(name, before.get(name), after.get(name)) for name in names]
    return [change for change in pairs if change.before != change.now]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as one, with dotted names; lists as text."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(item) if isinstance(item, list) else item
