"""The Postgres database that may keep a project's Dagster instance."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from dotenv import dotenv_values

from curator_assets.cli.env_file import ENV
from curator_assets.engine.dagster.private_names import (
    ConfigurableClassData,
    DagsterStorage,
    InstanceRef,
)
from curator_assets.errors import UserError
from curator_assets.extras import require_installed
from curator_assets.masking import masked_location, remember_secrets
from curator_assets.project import DATABASE_VARIABLE

_PACKAGE, _EXTRA = "dagster_postgres", "postgres"
_DRIVER = "postgresql+psycopg2"
_SCHEMES = {"postgres", "postgresql", _DRIVER}
_FORM = f"{_DRIVER}://HOST:5432/DATABASE, USER:PASSWORD@ before HOST"
_CONNECT_SECONDS = "10"


class PostgresError(UserError):
    """The database of an instance can't be used, or was not named."""


def checked_url(url: str) -> str:
    """The URL of a database that answers, with the driver that the extra brings.

    Raises:
        NotInstalledError: the extra is missing.
        PostgresError: it is no such URL, or there is no such database.
    """
    url = _with_driver(url)
    require_installed(_PACKAGE, _EXTRA)
    _require_reached(url)
    return url


def is_in_postgres(ref: InstanceRef) -> bool:
    """Whether an instance is kept in Postgres."""
    return ref.storage_data is not None and ref.storage_data.module_name == _PACKAGE


def require_database(ref: InstanceRef, settings_file: Path) -> None:
    """Find the database of an instance that is kept in Postgres.

    Its URL may be named in the `.env` beside the settings: it is in the environment from then on.

    Raises:
        NotInstalledError: the extra is missing.
        PostgresError: its URL is named nowhere, is none, or there is no such database.
    """
    require_installed(_PACKAGE, _EXTRA)
    assert ref.storage_data is not None
    config = yaml.safe_load(ref.storage_data.config_yaml)
    if config.get("postgres_url") == {"env": DATABASE_VARIABLE}:
        env = settings_file.parent / ENV
        given = os.environ.get(DATABASE_VARIABLE) or dotenv_values(env).get(DATABASE_VARIABLE)
        if not given:
            raise PostgresError(
                "the Dagster instance is kept in Postgres, but where is not said: expected "
                f"{_FORM} as {DATABASE_VARIABLE} in the environment or in {env}, where "
                "`curate init --postgres URL` writes it"
            )
        os.environ[DATABASE_VARIABLE] = _with_driver(given)
    if "auth_provider" not in config:  # else Dagster alone knows how to log in
        _require_reached(_url(ref))


def without_new_tables(ref: InstanceRef) -> InstanceRef:
    """The same instance, which makes no tables in its database when it is opened."""
    assert ref.storage_data is not None
    config = yaml.safe_load(ref.storage_data.config_yaml) | {"should_autocreate_tables": False}
    data = ConfigurableClassData(
        ref.storage_data.module_name, ref.storage_data.class_name, yaml.safe_dump(config)
    )
    return ref._replace(storage_data=data)


def has_tables(ref: InstanceRef) -> bool:
    """Whether the database holds an instance yet."""
    engine = sa.create_engine(_url(ref), poolclass=sa.NullPool)
    tables = {"event_logs", "runs", "jobs", "kvs", "dynamic_partitions"}
    return tables <= set(sa.inspect(engine).get_table_names())


def database_trouble(error: BaseException | None) -> str | None:
    """A paragraph, if what went wrong is that the database failed meanwhile."""
    while error is not None:
        cause: Any = getattr(error, "orig", None) or error
        if type(cause).__module__.partition(".")[0] == "psycopg2":
            return (
                f"the Postgres database of the Dagster instance failed: {_line(cause)}; what was "
                "finished counts, mend that and run it again"
            )
        error = error.__cause__ or error.__context__
    return None


def _url(ref: InstanceRef) -> str:
    data = without_new_tables(ref).storage_data
    assert data is not None
    try:
        storage: Any = data.rehydrate(as_type=DagsterStorage)  # type: ignore[type-abstract]
    except (ImportError, sa.exc.ArgumentError):
        raise PostgresError(
            "the Dagster instance's dagster.yaml names a database that can't be opened with the "
            f"driver installed here: expected {_FORM}, or postgres_db with scheme: {_DRIVER}"
        ) from None
    return str(storage.postgres_url)


def _with_driver(text: str) -> str:
    remember_secrets(text)
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in _SCHEMES or not url.database:
        got = masked_location(text) if "://" in text else "something without ://"
        raise PostgresError(f"expected the URL of a Postgres database, {_FORM}; got {got}")
    if "@" in url.database or "@" in (url.host or ""):
        raise PostgresError(
            f"expected the URL of a Postgres database, {_FORM}; got one with an @ or / in its "
            "password, which has to be written as %40 or %2F"
        )
    return url.set(drivername=_DRIVER).render_as_string(hide_password=False)


def _require_reached(text: str) -> None:
    remember_secrets(text)
    url = sa.make_url(text)
    url = url.set(query={"connect_timeout": _CONNECT_SECONDS} | dict(url.query))
    try:
        with sa.create_engine(url, poolclass=sa.NullPool).connect():
            pass
    except sa.exc.DBAPIError as error:
        raise PostgresError(
            f"the Postgres database {masked_location(text)} of the Dagster instance can't be "
            f"used: {_line(error.orig)}; start its server, make the database (`createdb`), or "
            f"name another URL, by `curate init --postgres URL` or as {DATABASE_VARIABLE} in the "
            "environment"
        ) from None


def _line(error: BaseException | None) -> str:
    return " ".join(str(error).split())
