"""The files of a new project."""

from __future__ import annotations

from importlib.resources import files

FILES = {
    "workspace.yaml": "workspace.yaml",
    "dagster.yaml": "dagster.yaml",
    "dg.toml": "dg.toml",
    "definitions.py": "definitions.py.txt",
}
"""What lies beside the settings -> which file here it is."""

_SETTINGS, _POSTGRES = "curator.yaml", "dagster.postgres.yaml"


def project_file(name: str) -> str:
    """A file of `FILES` as it is written."""
    return files(__name__).joinpath(FILES[name]).read_text()


def postgres_instance() -> str:
    """The `dagster.yaml` of a project whose instance is kept in Postgres."""
    return files(__name__).joinpath(_POSTGRES).read_text()


def settings_text(source: str) -> str:
    """The settings of a new project; `source` as it stands in YAML."""
    return files(__name__).joinpath(_SETTINGS).read_text().replace("{source}", source)
