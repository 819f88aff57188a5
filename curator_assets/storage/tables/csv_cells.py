"""Cells of CSV files that a spreadsheet shows, and does not run; they read back as they were."""

from __future__ import annotations

_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that a spreadsheet takes for a formula, in both widths."""

_TEXT = "'"
"""Tells a spreadsheet, and whoever reads the file, that a text follows."""


def to_cell(text: str) -> str:
    """A text as a cell: what a spreadsheet would run has an apostrophe before it."""
    return f"{_TEXT}{text}" if text.startswith(_RUNS) or from_cell(text) != text else text


def from_cell(cell: str) -> str:
    """The text of a cell; one that never had an apostrophe, or lost it in a spreadsheet, is it."""
    return cell[1:] if cell.startswith(_TEXT) and cell[1:].startswith((*_RUNS, _TEXT)) else cell
