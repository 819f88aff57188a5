"""A project whose Dagster instance is kept in Postgres."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from cli.conftest import _arithmetic_is_chosen, assert_one_paragraph, here, run, write_settings
from cluster.postgres_server import PASSWORD, postgres_server, programs
from pipeline import note_arithmetic
from tar_files import write_members

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.settings_file import load_settings

pytestmark = pytest.mark.timeout(900)

__all__ = ["_arithmetic_is_chosen", "here", "run"]

pytest.importorskip("dagster_postgres", reason="the extra `postgres` is not installed")
if programs() is None:
    pytest.skip("Postgres is not installed: no initdb", allow_module_level=True)


@pytest.fixture(scope="module")
def server():
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[:240:40]]


@pytest.fixture
def database(server, request) -> str:
    name = request.node.name
    server.create(name)
    return name


@pytest.fixture
def project(here, run, server, database, photos) -> Path:
    for i, name in enumerate("ab"):
        images = [("0.jpg", photos[i]), ("1.jpg", photos[i + 1])]
        write_members(here / f"tars/{name}.tar", images)
    write_settings(here)
    result = run("init", ".", "--postgres", server.url(database))
    assert result.exit_code == 0, result.output
    note_arithmetic(load_settings(here / "curator.yaml"))
    return here


def test_several_hosts_share_it_and_another_project_is_refused(
    run, project, server, database, photos, monkeypatch, tmp_path_factory
):
    result = run("plan")
    assert "2 new shards: a, b" in result.stdout
    assert run("check").exit_code == 0
    assert server.tables(database) == set()
    assert run("refresh").exit_code == 0
    assert "event_logs" in server.tables(database)
    assert "nothing to make: all is up to date" in run("plan").stdout
    state = "select count(*), max(id) from event_logs"
    (before,) = server.rows(database, state)
    assert run("check").exit_code == 0
    assert server.rows(database, state) == [before]

    other = tmp_path_factory.mktemp("other_host")  # another folder and home, the same output
    settings = (project / "curator.yaml").read_text()
    places = f"source: {project}/tars\noutput: {project}/out\n"
    kept = [li for li in settings.splitlines() if not li.startswith(("source", "output"))]
    (other / "settings.yaml").write_text(places + "\n".join(kept))
    (other / "settings.yaml").rename(other / "curator.yaml")
    assert run("init", str(other), "--postgres", server.url(database)).exit_code == 0
    write_members(project / "tars/c.tar", [("0.jpg", photos[3])])
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "CURATOR"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "curator_assets", "refresh"],
        cwd=other,
        env=bare,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "image_embeddings: 1 shard to make, 2 fresh" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert "nothing to make: all is up to date" in run("plan").stdout
    monkeypatch.setenv("CURATOR_POSTGRES_URL", server.url(database))
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        made = instance.get_materialized_partitions(dg.AssetKey("image_embeddings"))
        assert made == {"a", "b", "c"} == set(instance.get_dynamic_partitions("shards"))
        assert len(instance.get_runs()) == 2

    (project / "curator.yaml").write_text(settings.replace("output: out", "output: another"))
    for command in ("check", "plan", "refresh"):
        words = ["in this Postgres database is that of another project", "a database of its own"]
        assert_one_paragraph(run(command), 2, *words)


def test_databases_that_cannot_be_used(run, here, server, database, project):
    away = server.url(database).replace(str(server.port), "1")
    for url, words in (
        (server.url("nowhere"), ['database "nowhere" does not exist', "`createdb`"]),
        (server.url(database, "not-the-word"), ["password authentication failed"]),
        (away, ["Connection refused", "start its server"]),
    ):
        before = (here / ".env").read_bytes()
        assert_one_paragraph(run("init", ".", "--postgres", url), 2, *words)
        assert (here / ".env").read_bytes() == before
        (here / ".env").write_text(f"CURATOR_POSTGRES_URL='{url}'\n")
        for command in (["check"], ["plan"], ["refresh"], ["ui"]):
            result = run(*command)
            assert_one_paragraph(result, 2, *words)
            assert "-word" not in result.output
        (here / ".env").write_bytes(before)
    (here / ".env").unlink()
    assert_one_paragraph(run("plan"), 2, "CURATOR_POSTGRES_URL in the environment or in")
    assert server.tables(database) == set()


REFRESH = """
import os, signal
from curator_assets.cli.main import curate
from curator_assets.engine import making
recorded = making.recorded
def stopped(stage, done, work):
    if stage.name == "filter_scores":
        making.recorded = recorded
        os.kill(os.getpid(), signal.SIGSTOP)
    return recorded(stage, done, work)
making.recorded = stopped
curate(["refresh"])
"""


@pytest.mark.parametrize("what", ["killed", "restarted", "gone"])
def test_a_refresh_in_the_midst_of_which_it_or_the_server_ends(
    run, project, server, database, what
):
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "CURATOR"))}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", REFRESH],
        cwd=project,
        env=bare,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert process.poll() is None
            if what == "killed":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                server.stop()
            if what == "restarted":
                server.start()
            if what != "killed":
                process.send_signal(signal.SIGCONT)
            _, told = process.communicate()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            if not server.is_up():
                server.start()
    assert process.returncode == {"killed": -9, "restarted": 0, "gone": 2}[what], told
    if what == "gone":
        assert "the Postgres database of the Dagster instance failed: " in told
        assert "Traceback" not in told and PASSWORD not in told
    assert run("refresh").exit_code == 0
    assert "nothing to make: all is up to date" in run("plan").stdout
    statement = "select count(distinct partition) from event_logs where asset_key like '%scores%'"
    assert server.rows(database, statement) == [(2,)]
