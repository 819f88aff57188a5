"""What a person can mend, told in one paragraph; and names in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from curator_assets.control_characters import escaped
from curator_assets.masking import masked


class UserError(Exception):
    """What went wrong is for the user to mend.

    Its text is one short paragraph: what was expected, what arrived, where, and what to do. It is
    masked: a location in it shows no password.
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*(masked(part) if isinstance(part, str) else part for part in parts))


class DamagedFileError(UserError):
    """A stored file can't be read; `name` is its name below the output."""

    def __init__(self, name: str, where: str, why: str) -> None:
        super().__init__(
            f"{where} can't be read ({why}): it is damaged; `curate verify --repair` makes it again"
        )
        self.name, self._parts = name, (name, where, why)

    def __reduce__(self) -> tuple[type[DamagedFileError], tuple[str, str, str]]:
        """Workers hand it on."""
        return DamagedFileError, self._parts


class RemovalsHeldBackError(UserError):
    """Shards seem to be gone, but it is likely that their tars are only not looked at."""


def os_error_paragraph(error: OSError) -> str:
    """What an error of storage is, where, and what to do."""
    where = f": {error.filename}" if error.filename else ""
    about = f"{error.strerror}{where}" if error.strerror else str(error)
    return masked(f"{about}; mend that, and run it again")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a'?` of the known names that come close to one; empty if none does."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def named(names: Sequence[str], n: int = 5) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(map(escaped, names[:n])) + (
        f" and {len(names) - n:,} more" if len(names) > n else ""
    )
