"""Whatever a command raises is one paragraph on stderr and an exit status."""

from __future__ import annotations

import sys
import traceback
from typing import Any, NoReturn

import click

from curator_assets.control_characters import escaped, escaped_lines
from curator_assets.errors import (
    RemovalsHeldBackError,
    UserError,
    did_you_mean,
    os_error_paragraph,
)
from curator_assets.masking import masked, masked_error

FAILED, MEND, HELD_BACK, FAULT, STOPPED, CLOSED = 1, 2, 3, 70, 130, 141
"""Exit status: partitions failed; the user must mend something; removals are held back; a fault of
this program; stopped by the user; nobody reads the output. 0: all is made."""

_DEBUG = "debug"
_STOPPED = "stopped; what was finished counts, run it again to go on"
_INTERRUPTS = {"KeyboardInterrupt", "DagsterExecutionInterruptedError", "Abort"}


class Command(click.Command):
    """A command with `--debug`, whose errors are paragraphs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=lambda ctx, _, value: ctx.meta.setdefault(_DEBUG, value),
                help="Show the traceback of an error.",
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; an error ends it with its status."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, SystemExit):
            raise
        except BaseException as error:
            status, text = status_and_paragraph(error)
            if status != CLOSED:
                tell_error(text)
            ctx.exit(status)


class Group(click.Group):
    """A group of commands; a wrong word or option is one paragraph as well."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run it, and end this process."""
        try:
            status = super().main(*args, **kwargs | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            status = MEND
        except click.ClickException as error:
            context = getattr(error, "ctx", None) or click.Context(self, info_name=self.name)
            text = error.format_message().rstrip(".")
            tell_error(f"{text[:1].lower()}{text[1:]}; see `{context.command_path} --help`")
            status = MEND
        except (click.Abort, KeyboardInterrupt):
            tell_error(_STOPPED)
            status = STOPPED
        sys.exit(status if isinstance(status, int) else 0)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word means.

        Raises:
            click.UsageError: there is none of this name; says which comes close.
        """
        if args[0] not in self.commands:
            near = did_you_mean(args[0], self.commands)
            raise click.UsageError(f"no command {args[0]!r}{near}".rstrip("?"), ctx)
        return super().resolve_command(ctx, args)


def status_and_paragraph(error: BaseException) -> tuple[int, str]:
    """The exit status and the paragraph of an error; with `--debug` its traceback is printed."""
    context = click.get_current_context(silent=True)
    if context and context.meta.get(_DEBUG):
        lines = "".join(traceback.format_exception(masked_error(error)))
        click.echo(escaped_lines(lines), err=True, nl=False)
    if isinstance(error, RemovalsHeldBackError):
        return HELD_BACK, str(error)
    if isinstance(error, UserError):
        return MEND, str(error)
    if type(error).__name__ in _INTERRUPTS:
        return STOPPED, _STOPPED
    if isinstance(error, BrokenPipeError):
        return CLOSED, ""
    if isinstance(error, OSError):
        return MEND, os_error_paragraph(error)
    if text := _database_trouble(error):
        return MEND, text
    about = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return FAULT, f"{about}; this is a fault of curate: `--debug` shows where, please report it"


def _database_trouble(error: BaseException) -> str | None:
    if "psycopg2" not in sys.modules:
        return None
    from curator_assets.cli.postgres import database_trouble

    return database_trouble(error)


def tell_error(text: str) -> None:
    """Print a paragraph on stderr."""
    click.echo(f"{click.style('error:', fg='red')} {escaped(masked(text))}", err=True)
