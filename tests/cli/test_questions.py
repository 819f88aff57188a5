"""Commands that look at a finished project, as a user calls them."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from cli.conftest import assert_one_paragraph
from held_ports import HeldPort

from curator_assets.demo.samples import read_truth


@pytest.fixture
def project(here, curated_folder) -> Path:
    shutil.copytree(curated_folder, here, dirs_exist_ok=True)
    return here


def copy_of(project: Path) -> str:
    truth = read_truth(project / "truth.json")
    return next(planted.id for planted in truth if planted.case == "byte_identical")


def test_explain_and_its_pictures(run, project):
    image_id = copy_of(project)
    result = run("explain", image_id, "--pictures", "pair.jpg")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(image_id)
    assert "verdict     duplicate of" in result.stdout
    assert (project / "pair.jpg").stat().st_size > 1000
    settings = (project / "curator.yaml").read_bytes()
    result = run("explain", image_id, "--pictures", "curator.yaml")
    assert_one_paragraph(result, 2, "expected a .jpg")
    assert (project / "curator.yaml").read_bytes() == settings


def test_a_tar_that_is_not_taken_is_explained_by_its_reason(run, project):
    (project / "tars/cut.tar").write_bytes(b"x" * 100)
    (project / "tars/.hidden.tar").touch()
    for asked in ("cut", "cut.tar", "./cut.tar", str(project / "tars/cut.tar"), "cut/some/key"):
        assert_one_paragraph(run("explain", asked), 2, "cut.tar: it does not end as tars end")
    assert_one_paragraph(run("explain", ".hidden.tar"), 2, "its name begins with a dot")
    assert_one_paragraph(run("explain", "nowhere.tar"), 2, "no shard of 'nowhere.tar' is known")


def test_compare_and_its_table(run, project):
    settings = yaml.safe_load((project / "curator.yaml").read_text())
    settings["filters"] = [{"score": "width", "min": 300}]
    (project / "strict.yaml").write_text(yaml.safe_dump(settings))
    result = run("compare", "strict.yaml", "--csv", "changed.csv")
    assert result.exit_code == 0, result.output
    assert "before / after" in result.stdout
    assert (project / "changed.csv").read_text().startswith("image_id,before,")
    assert run("compare", "curator.yaml", "strict.yaml").exit_code == 0
    assert_one_paragraph(run("compare", "a", "b", "c"), 2, "expected one or two files, got 3")
    assert_one_paragraph(run("compare", "nowhere.yaml"), 2, "no settings file at")
    strict = "nowhere/changed.csv"
    assert_one_paragraph(run("compare", "strict.yaml", "--csv", strict), 2, "nowhere/changed.csv")


def test_a_reader_that_goes_away_ends_it_in_silence(project):
    script = (
        f"{sys.executable} -m curator_assets explain '{copy_of(project)}' | true; "
        "echo ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in {"0", "141"}


def test_calibrate(run, project):
    settings = yaml.safe_load((project / "curator.yaml").read_text())
    settings["calibration"] = {"n_images": 3}
    (project / "curator.yaml").write_text(yaml.safe_dump(settings))
    result = run("calibrate")
    assert result.exit_code == 0, result.output
    rows = {line.rsplit(maxsplit=8)[0]: line.split() for line in result.stdout.splitlines()}
    assert rows["JPEG quality 85"][3] == "3"
    assert "random pairs" in rows
    assert "in force: eps 0.03, max_eps 0.05" in result.stdout
    assert (project / "curated/calibration/eps.svg").exists()
    assert result.stderr == ""


def test_calibrate_says_what_is_in_the_way(run, project):
    settings = yaml.safe_load((project / "curator.yaml").read_text())
    settings["model"]["pretrained"] = "imagenett"
    (project / "curator.yaml").write_text(yaml.safe_dump(settings))
    assert_one_paragraph(run("calibrate"), 2, "did you mean 'imagenet'")
    shutil.rmtree(project / "curated")
    assert_one_paragraph(run("calibrate"), 2, "no image is embedded yet", "curate refresh")


def test_check_tells_what_it_looked_at(run, project):
    result = run("check")
    assert result.exit_code == 0, result.output
    told = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert set(told) == {"settings", "source", "output", "model", "disk", "memory", "ready:"}
    assert "3 tars" in result.stdout
    assert "the first sample of a/00000.tar: " in result.stdout
    assert "embeddings of width 1280" in result.stdout
    assert "for trying out" in result.stdout
    assert "images need" in told["memory"]


def test_check_goes_on_after_what_failed_and_needs_it(run, project):
    settings = yaml.safe_load((project / "curator.yaml").read_text())
    (project / "curator.yaml").write_text(yaml.safe_dump(settings | {"source": "nowhere"}))
    result = run("check")
    assert result.exit_code == 2
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["settings", "source", "output", "model", "model", "not"]


def test_ui_serves_the_project_and_ends_with_its_children(project):
    port = HeldPort()
    command = [sys.executable, "-m", "curator_assets", "ui", "--port", str(port.number)]
    environment = {k: v for k, v in os.environ.items() if k not in {"DAGSTER_HOME"}}
    with (project / "ui.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        for _ in range(120):
            try:
                url = f"http://127.0.0.1:{port.number}/server_info"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    assert b"dagster_webserver_version" in answer.read()
                break
            except OSError:
                assert process.poll() is None, (project / "ui.log").read_text()
                time.sleep(0.5)
        else:
            pytest.fail((project / "ui.log").read_text())
        taken = subprocess.run(command, capture_output=True, text=True, check=False)
        assert taken.returncode == 2
        assert f"port {port.number} can't be used" in taken.stderr
    finally:
        os.killpg(process.pid, 2)
        process.wait(timeout=60)
    assert (project / ".dagster/dagster.yaml").exists()
