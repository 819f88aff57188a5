"""What is printed: colours and boxes on a terminal, plain aligned lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curator_assets.cli.exit_status import CLOSED
from curator_assets.control_characters import escaped
from curator_assets.masking import masked


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Nobody reads on: end as a program does that a closed pipe kills."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(CLOSED)


console = _Console(highlight=False, soft_wrap=True)
"""Of stdout; `is_terminal` tells which kind of output is wanted."""


def say(text: str = "", style: str = "") -> None:
    """Print one line: what is in it is not run, but shown, and secrets are masked."""
    console.print(Text(shown(text), style=style))


def shown(text: str) -> str:
    """A text on one line as a terminal may have it, without control characters and secrets."""
    return escaped(masked(text))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; all columns but the first are aligned to the right."""
    cells = [[shown(str(cell)) for cell in row] for row in rows]
    if console.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for i, name in enumerate(header):
            table.add_column(name, justify="right" if i else "left", no_wrap=bool(i))
        for row in cells:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for row in [list(header), *cells]:
        first, *others = (
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        say("  ".join([first, *others]).rstrip())
