"""`curate ui`: Dagster's UI and daemon on a project."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from curator_assets.cli.console import say
from curator_assets.cli.instance import project_instance
from curator_assets.errors import UserError
from curator_assets.settings_file import load_settings, settings_file

HOST = "127.0.0.1"
WORKSPACE = "workspace.yaml"


class PortTakenError(UserError):
    """Another program listens on the port."""


def serve(port: int) -> None:
    """Become `dagster dev` on this project.

    Raises:
        PortTakenError: the page's port is in use.
        SettingsError: the settings can't be read, or the instance is another project's.
    """
    load_settings()
    file = settings_file()
    _require_free(port)
    with project_instance(file):
        pass  # its tables are there before the two processes that `dagster dev` starts
    say(f"Dagster's UI: http://{HOST}:{port} (once it says that it is serving; Ctrl-C ends it)")
    sys.stdout.flush()
    os.environ["CURATOR_CONFIG"] = str(file)
    os.chdir(file.parent)  # where Dagster looks for the project's own files
    has_workspace = Path(WORKSPACE).is_file()
    target = ["-w", WORKSPACE] if has_workspace else ["-m", "curator_assets.definitions"]
    superseded = "ignore:Function `dev_command` is superseded"  # by `dg dev`, which runs the same
    command = [sys.executable, "-W", superseded, "-m", "dagster", "dev", *target]
    # in the background of a script it is ignored, and Dagster would not end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.execv(sys.executable, [*command, "-h", HOST, "-p", str(port)])


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} can't be used ({error.strerror}): the UI may run already; open "
                f"http://{HOST}:{port}, or choose another with --port"
            ) from None
