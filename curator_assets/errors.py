"""What a person can mend, told in one paragraph."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What went wrong is for the user to mend.

    Its text is one short paragraph: what was expected, what arrived, where, and what to do.
    `exit_status` is that of a command which it ends.
    """

    exit_status = 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a'?` of the known names that come close to one; empty if none does."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
