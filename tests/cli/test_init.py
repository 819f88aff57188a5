from pathlib import Path

import pytest
from cli.conftest import assert_one_paragraph
from dotenv import dotenv_values

from curator_assets import extras
from curator_assets.cli import postgres
from curator_assets.cli.templates import FILES, postgres_instance, project_file, settings_text
from curator_assets.settings_file import load_settings

ROOT = Path(__file__).parents[2]


def test_a_folder_becomes_a_project(run, here):
    result = run("init", "project", "--source", "s3://bucket/tars")
    assert result.exit_code == 0, result.output
    project = here / "project"
    assert {path.name for path in project.iterdir()} == {"curator.yaml", ".env", ".dagster", *FILES}
    settings = load_settings(project / "curator.yaml")
    assert settings.source == "s3://bucket/tars"
    assert settings.output == str(project / "curated")
    assert dotenv_values(project / ".env") == {"DAGSTER_HOME": str(project / ".dagster")}
    assert "telemetry:\n  enabled: false" in (project / "dagster.yaml").read_text()


@pytest.mark.parametrize("name", ["tars", "it's a # folder", "off", "ünï: x", "{braces}", "12"])
def test_any_source_is_written_so_that_it_is_read(run, here, name):
    (here / name).mkdir()
    assert run("init", "project", "--source", name).exit_code == 0
    assert load_settings(here / "project/curator.yaml").source == str(here / name)
    assert run("init", ".", "--source", name).exit_code == 0
    assert load_settings(here / "curator.yaml").source == str(here / name)
    assert str(here) not in (here / "curator.yaml").read_text()


def test_what_is_there_stays(run, here):
    (here / "curator.yaml").write_text("source: a\noutput: b\n")
    (here / ".env").write_text("TOKEN=x\r\nDAGSTER_HOME='/before/.dagster'\n")
    result = run("init", ".")
    assert result.exit_code == 0
    assert "left as they are: curator.yaml" in result.stdout
    assert (here / "curator.yaml").read_text() == "source: a\noutput: b\n"
    values = dotenv_values(here / ".env")
    assert values == {"TOKEN": "x", "DAGSTER_HOME": str(here / ".dagster")}
    again = (here / ".env").read_bytes()
    assert b"TOKEN=x\r\n" in again
    assert "written" not in run("init", ".").stdout
    assert (here / ".env").read_bytes() == again
    for line in (b"DAGSTER_HOME=/a/persons/own\n", b"export DAGSTER_HOME = /x/.dagster\n"):
        (here / ".env").write_bytes(b"NAME=caf\xe9\n" + line)
        assert "left as they are" in run("init", ".").stdout
        assert (here / ".env").read_bytes() == b"NAME=caf\xe9\n" + line
    (here / "shared").write_text("A=1\n")
    (here / ".env").unlink()
    (here / ".env").symlink_to("shared")
    assert run("init", ".").exit_code == 0
    assert (here / "shared").read_text() == "A=1\n"
    assert_one_paragraph(run("init", ".", "--source", "x"), 2, "names its own source")


def test_a_source_around_the_project_is_refused_before_anything_is_written(run, here):
    result = run("init", "tars/project", "--source", "tars")
    assert_one_paragraph(result, 2, "lies inside source")
    assert list(here.iterdir()) == []


def test_a_path_with_quotes_and_dollars_is_found_by_dagster(run, here):
    name = "it's $HOME and 100 %"
    assert run("init", name).exit_code == 0
    found = dotenv_values(here / name / ".env")["DAGSTER_HOME"]
    assert found == str(here / name / ".dagster")


def test_the_checkouts_own_files_are_those_of_a_project():
    assert (ROOT / "curator.yaml").read_text() == settings_text("tars")
    for name in ("workspace.yaml", "dagster.yaml"):
        assert (ROOT / name).read_text() == project_file(name)
    assert (ROOT / "dagster.postgres.yaml").read_text() == postgres_instance()


DATABASE = "postgresql+psycopg2://me:pass-word@127.0.0.1:5/db"


@pytest.fixture
def database(monkeypatch):
    """A database that is there, as far as anyone looks."""
    monkeypatch.setattr(postgres, "checked_url", lambda url: DATABASE)


def test_the_url_of_a_database_lies_in_env_for_its_owner_alone(run, here, database):
    result = run("init", "new", "--postgres", DATABASE)
    assert result.exit_code == 0, result.output
    assert "pass-word" not in result.output
    project = here / "new"
    expected = {"CURATOR_POSTGRES_URL": DATABASE, "DAGSTER_HOME": str(project / ".dagster")}
    assert dotenv_values(project / ".env") == expected
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert (project / ".gitignore").read_text() == ".env\n.dagster/\n"
    assert (project / ".dagster/dagster.yaml").read_text() == postgres_instance()
    holders = [p for p in project.rglob("*") if p.is_file() and "pass-word" in p.read_text()]
    assert holders == [project / ".env"]


def test_a_project_that_is_there_moves_into_a_database(run, here, database):
    assert run("init", ".").exit_code == 0
    env = here / ".env"
    env.write_text("TOKEN=x\nCURATOR_POSTGRES_URL=before\n" + env.read_text())
    env.chmod(0o644)
    (here / ".dagster/dagster.yaml").unlink()  # as without a dagster.yaml beside the settings
    (here / ".dagster/dagster.yaml").write_text(project_file("dagster.yaml"))
    (here / ".gitignore").write_text("*.tmp\n")
    result = run("init", ".", "--postgres", DATABASE)
    assert "written to .: .env, dagster.yaml" in result.stdout
    assert "add .env to .gitignore" in result.stdout
    assert dotenv_values(env)["CURATOR_POSTGRES_URL"] == DATABASE
    assert dotenv_values(env)["TOKEN"] == "x"
    assert (here / ".dagster/dagster.yaml").read_text() == postgres_instance()
    (here / ".gitignore").write_text("/.env\n")
    assert "add .env" not in run("init", ".", "--postgres", DATABASE).stdout
    env.write_text("DAGSTER_HOME='/before/.dagster'\n" + env.read_text().splitlines()[1])
    assert run("init", ".").exit_code == 0  # as after a move
    assert env.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("place", "word"), [("dagster.yaml", "have it say"), (".env", "is a link")]
)
def test_what_a_person_wrote_is_in_the_way_of_a_database(run, here, database, place, word):
    (here / "own").write_text("telemetry: {enabled: true}\n")
    (here / place).symlink_to("own")
    result = run("init", ".", "--postgres", DATABASE)
    assert_one_paragraph(result, 2, word)
    assert {path.name for path in here.iterdir()} == {"own", place}


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:pass-word@host/db",
        "postgresql://me:pass-word@host",
        "postgresql://me:pass/wo@rd@host/db",
        "postgresql://me:pass-word@host:port/db",
        "me:pass-word@host/db",
        "db",
        "",
    ],
)
def test_what_is_no_url_of_a_database_is_refused_unseen(run, here, url):
    result = run("init", ".", "--postgres", url)
    assert_one_paragraph(result, 2, "expected the URL of a Postgres database")
    assert "pass" not in result.stderr.replace("PASSWORD", "").replace("its password", "")
    assert list(here.iterdir()) == []


def test_a_database_without_the_extra_is_refused(run, here, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = run("init", ".", "--postgres", DATABASE)
    assert_one_paragraph(result, 2, "'curator-assets[postgres]'")
    assert list(here.iterdir()) == []
    (here / "dagster.yaml").write_text(postgres_instance())
    assert run("init", ".").exit_code == 0
    assert_one_paragraph(run("plan"), 2, "'curator-assets[postgres]'")
    assert_one_paragraph(run("refresh"), 2, "'curator-assets[")
