from pathlib import Path

import pytest
from cli.conftest import assert_one_paragraph
from dotenv import dotenv_values

from curator_assets.cli.templates import FILES, project_file, settings_text
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
