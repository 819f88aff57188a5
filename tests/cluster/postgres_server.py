"""A Postgres server in a temporary folder, on 127.0.0.1, where its programs are installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from held_ports import HeldPort

USER, PASSWORD = "curator", "a-secret-word"


def programs() -> Path | None:
    """The folder of `initdb`, `pg_ctl` and `postgres`: on the PATH, or where Debian has them."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    names = ("initdb", "pg_ctl", "postgres")
    return next((f for f in folders if all((f / name).exists() for name in names)), None)


class PostgresServer:
    """A server whose data lie in `folder`."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self._folder, self._bin, self._data = folder, bin_folder, folder / "data"
        self._port = HeldPort()

    @property
    def port(self) -> int:
        return self._port.number

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        secret = self._folder / "secret"
        secret.write_text(PASSWORD)
        self._as_nobody("chown", "-R", "65534", str(self._folder), as_root=True)
        self._run("initdb", "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {self.port} -k {self._folder}"
        self._run("pg_ctl", "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def is_up(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    def create(self, database: str) -> None:
        self.rows("postgres", f'create database "{database}"')

    def rows(self, database: str, statement: str) -> Sequence[tuple]:
        import psycopg2

        where = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD}
        connection = psycopg2.connect(dbname=database, **where)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def tables(self, database: str) -> set[str]:
        statement = "select tablename from pg_tables where schemaname = 'public'"
        return {name for (name,) in self.rows(database, statement)}

    def _run(self, program: str, *arguments: str) -> None:
        self._as_nobody(str(self._bin / program), "-D", str(self._data), *arguments)

    def _as_nobody(self, *command: str, as_root: bool = False) -> None:
        """Run it, not as root, whom Postgres refuses."""
        if os.geteuid() != 0:
            if as_root:
                return
        elif not as_root:
            command = ("setpriv", "--reuid=65534", "--clear-groups", *command)
        subprocess.run(
            command,
            check=True,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            timeout=120,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that runs meanwhile; `programs` must have found some."""
    bin_folder = programs()
    assert bin_folder is not None
    folder = Path(tempfile.mkdtemp(prefix="curator-postgres-"))  # that of a test is its user's
    server = PostgresServer(folder, bin_folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        if server.is_up():
            server.stop()
        shutil.rmtree(folder)
