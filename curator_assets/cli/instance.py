"""The Dagster instance of a project, opened by commands that run or look at it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from curator_assets.cli import postgres
from curator_assets.cli.home import is_made, make_home
from curator_assets.engine.dagster.private_names import InstanceRef, NoOpComputeLogManager
from curator_assets.project import HOME_VARIABLE, home_in_force, own_home


@contextmanager
def project_instance(settings_file: Path, *, own: bool = False) -> Iterator[dg.DagsterInstance]:
    """The instance of a project, made if it is the project's own and not there yet.

    $DAGSTER_HOME names it from then on, for what this process starts.

    Args:
        settings_file: of the project.
        own: take the project's own, whatever $DAGSTER_HOME says.

    Raises:
        SettingsError: $DAGSTER_HOME is no folder, or is the instance of another project.
        PostgresError: it is kept in a database that can't be used.
    """
    home = own_home(settings_file) if own else home_in_force(settings_file)
    if home == own_home(settings_file):
        make_home(settings_file)
    os.environ[HOME_VARIABLE] = str(home)
    with (home / ".opening.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that set up one SQLite file would spoil it
        ref = _ref(home)
        if postgres.is_in_postgres(ref):
            postgres.require_database(ref, settings_file)
        instance = dg.DagsterInstance.from_ref(ref)
        instance.get_runs_count()
    with instance:
        yield instance


@contextmanager
def looked_at_instance(settings_file: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of a project as it is; an empty one in memory if there is none yet.

    Raises:
        SettingsError: $DAGSTER_HOME is no folder, or is the instance of another project.
        PostgresError: it is kept in a database that can't be used.
    """
    home = home_in_force(settings_file)
    ref = _ref(home) if is_made(home) else None
    if ref and postgres.is_in_postgres(ref):
        postgres.require_database(ref, settings_file)
        ref = postgres.without_new_tables(ref) if postgres.has_tables(ref) else None
    with dg.DagsterInstance.from_ref(ref) if ref else dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _ref(home: Path) -> InstanceRef:
    """The instance, without its capture of what runs print.

    The capture would put a pipe in the terminal's place, and a helper process, which tells of a
    Ctrl-C by a traceback, in its foreground.
    """
    nowhere = {"module": NoOpComputeLogManager.__module__, "class": NoOpComputeLogManager.__name__}
    return InstanceRef.from_dir(str(home), overrides={"compute_logs": nowhere})
