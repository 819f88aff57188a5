"""`dagster` and `dg` in the folder of a project, without an environment variable."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import call_curate_in
from pipeline import note_arithmetic

from curator_assets.settings_file import load_settings

BIN = Path(sys.executable).parent
BARE = {
    name: value
    for name, value in os.environ.items()
    if name not in {"DAGSTER_HOME", "CURATOR_CONFIG"}
}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=folder,
        env=BARE | {"PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def project(sample_tars, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "project"
    call_curate_in(folder.parent, "init", "project", "--source", str(sample_tars))
    checked = run(folder, "dg", "check", "defs")  # before anything was made
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "All definitions loaded successfully." in checked.stdout
    note_arithmetic(load_settings(folder / "curator.yaml"))
    call_curate_in(folder, "refresh")
    return folder


def test_dg_lists_and_checks_the_definitions(project):
    listed = run(project, "dg", "list", "defs", "--json")
    assert listed.returncode == 0, listed.stderr
    found = json.loads(listed.stdout)
    assert "deduplicated_shards" in {asset["asset_key"] for asset in found["assets"]}
    assert [sensor["name"] for sensor in found["sensors"]] == ["tar_drops"]
    validated = run(project, "dagster", "definitions", "validate")
    assert validated.returncode == 0, validated.stderr


@pytest.mark.parametrize(
    "launch",
    [
        ("dg", "launch", "--assets"),
        ("dagster", "asset", "materialize", "-m", "curator_assets.definitions", "--select"),
    ],
)
def test_both_launch_partitions_and_ranges_of_the_projects_own_instance(project, launch):
    scores = project / "curated/scores/b/00000.parquet"
    scores.unlink()  # for which no process has to load the model
    whole = ("--partition-range", "a/00000...b/00000")
    done = run(project, *launch, "image_embeddings,filter_scores", *whole)
    assert done.returncode == 0, done.stderr
    assert scores.exists()
    done = run(project, *launch, "image_embeddings", "--partition", "a/00001")
    assert done.returncode == 0, done.stderr
    backwards = run(project, *launch, "filter_scores", "--partition-range", "b/00000...a/00000")
    assert backwards.returncode == 1
    told = backwards.stdout + backwards.stderr
    assert "Failure: the range b/00000...a/00000 runs backwards" in told
    assert not [path for path in project.iterdir() if path.name.startswith(".tmp_dagster")]


@pytest.mark.parametrize(
    "command",
    [
        ("dg", "check", "defs"),
        ("dg", "launch", "--assets", "duplicate_groups"),
        ("dagster", "asset", "materialize", "-m", "curator_assets.definitions", "--select", "x"),
    ],
)
def test_what_the_settings_have_wrong_comes_first(project, command):
    path = project / "curator.yaml"
    good = path.read_text()
    path.write_text(good + "duplicate: {}\n")
    try:
        done = run(project, *command)
    finally:
        path.write_text(good)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    first = next(i for i, line in enumerate(lines) if "duplicate: unknown key" in line)
    assert lines[first].startswith("error: ")
    assert not any("Traceback" in line for line in lines[:first])


def test_an_exported_instance_of_another_project_is_refused(project, tmp_path):
    other = tmp_path / "other"
    call_curate_in(tmp_path, "init", "other")
    (other / ".env").write_bytes((project / ".env").read_bytes())  # as after a copy
    done = run(other, "dg", "check", "defs")
    assert done.returncode == 1
    assert "the instance of the project in" in done.stderr
    assert "`curate init` writes it anew" in done.stderr
