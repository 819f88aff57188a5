"""What a refresh does while it does it: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import logging
from typing import Self

import dagster as dg
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from curator_assets.cli.console import console, shown
from curator_assets.engine.dagster.job import Observer
from curator_assets.engine.dagster.private_names import LOG_RECORD_METADATA_ATTR
from curator_assets.engine.intake import Intake
from curator_assets.engine.progress import Progress as StageProgress
from curator_assets.engine.progress import duration
from curator_assets.engine.refresh import Pass


class ShownProgress(Observer):
    """A bar for the stage that is being made, on a terminal; keeps what the refresh found."""

    def __init__(self) -> None:
        self._intake: Intake | None = None
        self._result: Pass | None = None
        self._tasks = dict[StageProgress, TaskID]()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[pace]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def outcome(self) -> tuple[Intake, Pass]:
        """What the refresh found and did.

        Raises:
            RuntimeError: it did not come to an end.
        """
        if self._intake is None or self._result is None:
            raise RuntimeError("the refresh ended without a result")
        return self._intake, self._result

    def looked(self, intake: Intake) -> None:
        """The source was looked at."""
        self._intake = intake

    def passed(self, this: Pass) -> None:
        """All stages are through."""
        self._result = this

    def begun(self, progress: StageProgress) -> None:
        """A bar."""
        self._tasks[progress] = self._bar.add_task(progress.name, total=1.0, pace="")

    def advanced(self, progress: StageProgress) -> None:
        """The bar is longer."""
        left = progress.seconds_left
        pace = f"{progress.per_second:,.1f} {progress.unit}/s"
        pace += f" by {where}" if (where := progress.where()) else ""
        pace += f"  {duration(left)} left" if left is not None else ""
        self._bar.update(self._tasks[progress], completed=progress.share, pace=pace)

    def ended(self, progress: StageProgress) -> None:
        """No bar."""
        self._bar.remove_task(self._tasks.pop(progress))


class _Terminal(logging.Handler):
    """Prints what a run logs without the prefix that tells one run of many from another."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line, also of a step; other events and, on a terminal, progress are left out."""
        told = getattr(record, LOG_RECORD_METADATA_ATTR, {})
        is_shown_as_bar = console.is_terminal and getattr(record, "is_progress", False)
        if is_shown_as_bar or not _is_for_a_person(told.get("dagster_event")):
            return
        style = "yellow" if record.levelno >= logging.WARNING else ""
        message = told.get("orig_message") or record.getMessage()
        for line in message.splitlines():
            console.print(Text(shown(line), style=style))


def _is_for_a_person(event: dg.DagsterEvent | None) -> bool:
    """Whether a line is no event of Dagster's own; the steps of a refresh are events of an op."""
    return event is None or (event.is_engine_event and event.step_key is not None)


def terminal_loggers() -> dict[str, dg.LoggerDefinition]:
    """The loggers of a job that a person watches."""

    @dg.logger(config_schema=None, description="Plain lines, for the command line.")
    def console_logger(_: dg.InitLoggerContext) -> logging.Logger:
        return terminal_log()

    return {"console": console_logger}


def terminal_log() -> logging.Logger:
    """A log that a person watches."""
    logger = logging.Logger("curate", logging.INFO)
    logger.addHandler(_Terminal())
    return logger
