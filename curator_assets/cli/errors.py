"""Whatever a command raises is one paragraph on stderr and an exit status."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import click

from curator_assets.errors import UserError

FAILED, MEND, HELD_BACK, FAULT, STOPPED = 1, 2, 3, 70, 130
"""Exit status: partitions failed; the user must mend something; removals are held back; a fault of
this program; stopped by the user. 0: all is made."""


class Command(click.Command):
    """A command with `--debug`, whose errors are paragraphs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        debug = click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_remember_debug,
            help="Show the traceback of an error.",
        )
        self.params.append(debug)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; an error ends it with its status."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BaseException as error:
            ctx.exit(tell(error, debug=bool(ctx.meta.get("debug"))))


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta["debug"] = value


def tell(error: BaseException, *, debug: bool) -> int:
    """Print what went wrong on stderr; the exit status that it means."""
    if debug:
        traceback.print_exception(error)
    status, text = told(error)
    if text:
        tell_error(text)
    return status


def tell_error(text: str) -> None:
    """Print a paragraph on stderr."""
    click.echo(f"{click.style('error:', fg='red')} {text}", err=True)


def told(error: BaseException) -> tuple[int, str]:
    """The exit status and the paragraph of an error."""
    if isinstance(error, UserError):
        return error.exit_status, str(error)
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ in _INTERRUPTS:
        return STOPPED, "stopped; what was finished counts, run it again to go on"
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 0, ""
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        about = f"{error.strerror}{where}" if error.strerror else str(error)
        return MEND, f"storage failed: {about}; what was finished counts: mend it, and run it again"
    about = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return FAULT, f"{about}; this is a fault of curate: `--debug` shows where, please report it"


_INTERRUPTS = {"DagsterExecutionInterruptedError"}
