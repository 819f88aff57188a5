"""Connections to the database of an instance that is kept in Postgres."""

from typing import Any

import dagster as dg
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool

_HELD_SECONDS = 300
"""After which a connection is opened anew: what lies between forgets idle ones."""


def hold_connections(instance: dg.DagsterInstance) -> None:
    """Have an instance keep its connections while a run writes events; SQLite is left as it is.

    Dagster opens several connections an event, which is most of what an event costs. The setting
    by which its webserver keeps them is the only one that there is. One that broke meanwhile, as
    when the server was started again, is found when it is taken up, and replaced.
    """
    if not event.contains(Pool, "checkout", _require_alive):
        event.listen(Pool, "checkout", _require_alive)
    instance.optimize_for_webserver(
        statement_timeout=0, pool_recycle=_HELD_SECONDS, max_overflow=-1
    )


def _require_alive(connection: Any, *_: object) -> None:
    if not type(connection).__module__.startswith("psycopg2"):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        raise DisconnectionError("the database is gone") from error  # the pool connects anew
