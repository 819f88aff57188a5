"""`curate refresh` and `curate plan` as a user sees them."""

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from cli.conftest import assert_one_paragraph, call_curate_in, write_settings
from pipeline import note_arithmetic
from tar_files import write_members

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.settings_file import load_settings
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[:240:40]]


@pytest.fixture
def project(here) -> Path:
    write_settings(here)
    return here


def drop(project: Path, name: str, *images: bytes) -> Path:
    path = project / "tars" / f"{name}.tar"
    write_members(path, [(f"{i}.jpg", image) for i, image in enumerate(images)])
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, photos) -> Path:
    """A project of one curated image; to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    write_settings(folder)
    drop(folder, "a", photos[0])
    note_arithmetic(load_settings(folder / "curator.yaml"))
    call_curate_in(folder, "refresh")
    return folder


@pytest.fixture
def refreshed(here, finished) -> Path:
    """Refreshed, with one image in tar a."""
    shutil.copytree(finished, here, dirs_exist_ok=True)
    return here


def made(project: Path, pattern: str) -> set[str]:
    return {path.stem for path in (project / "out").glob(pattern)}


def test_it_ends_with_the_counts_the_tars_not_taken_and_the_report(run, project, photos):
    drop(project, "a", photos[0], photos[1])
    drop(project, "b", photos[0], b"broken")
    half = drop(project, "c", photos[2])
    half.write_bytes(half.read_bytes()[:3000])
    result = run("refresh")
    assert result.exit_code == 0, result.output
    end = result.stdout.partition("verdict")[2]
    rows = [line.split() for line in end.splitlines()]
    for row in (["kept", "2", "50.0%"], ["duplicate", "1", "25.0%"], ["unreadable", "1", "25.0%"]):
        assert row in rows
    assert ["samples", "read", "4"] in rows
    assert "1 not taken: c.tar: it does not end as tars end" in end
    assert f"report        {project}/out/report/index.html" in end
    assert "image_embeddings: 4 images" in result.stdout
    assert " - dagster - " not in result.output  # lines without the prefix of a log
    assert result.stderr == ""
    result = run("refresh")
    assert "nothing to make: all is up to date" in result.stdout


def test_dagsters_log_keeps_its_lines(run, project, photos):
    import dagster as dg

    drop(project, "a", photos[0])
    assert run("refresh").exit_code == 0
    with dg.DagsterInstance.from_ref(
        dg._core.instance.ref.InstanceRef.from_dir(str(project / ".dagster"))
    ) as instance:
        (found,) = instance.get_runs()
        events = {entry.message: entry.dagster_event for entry in instance.all_logs(found.run_id)}
    begun = events["1 of 9: image_embeddings: 1 shard to make, 0 fresh (1 never made)"]
    ended = next(line for line in events if line.startswith("1 of 9: image_embeddings: 1 made in "))
    assert begun.is_engine_event and events[ended].is_engine_event
    assert begun.step_key == events[ended].step_key == "refresh_stale_partitions"
    last = next(line for line in events if line.startswith("9 steps in "))
    steps = [r.data for r in events[last].engine_event_data.metadata["steps"].records]
    assert [step["step"] for step in steps] == list(range(1, 10))
    assert (steps[0]["asset"], steps[0]["made"], steps[0]["fresh"]) == ("image_embeddings", 1, 0)


def test_shards_limit_the_work_and_what_rests_on_the_others_waits(run, project, photos):
    for i, name in enumerate("abc"):
        drop(project, name, photos[i], photos[i + 1])
    result = run("refresh", "b")
    assert result.exit_code == 0, result.output
    assert made(project, "embeddings/*") == made(project, "scores/*") == {"b"}
    assert made(project, "shards/*") == set()
    assert "waiting for shards that were not chosen: centroids, " in result.stdout
    assert "curated tars" not in result.stdout
    result = run("refresh", "a...c")
    assert "waiting" not in result.stdout
    assert made(project, "shards/*.tar") == {"a", "b", "c"}

    drop(project, "d", photos[4])
    drop(project, "e", photos[5])
    result = run("refresh", "e")
    assert made(project, "embeddings/*") == {"a", "b", "c", "e"}
    assert made(project, "clusters/assignments/*") == {"a", "b", "c", "e"}  # the codebook stands
    waiting = next(line for line in result.stdout.splitlines() if line.startswith("waiting"))
    assert "near_duplicate_pairs, duplicate_groups, duplicate_ids, deduplicated_shards" in waiting
    assert "cluster_assignments" not in waiting
    assert ", as it was before" in result.stdout
    result = run("refresh", "d")  # now no embedding is left out
    assert "waiting for shards that were not chosen: curation_report;" in result.stdout
    assert made(project, "shards/*.tar") == {"a", "b", "c", "d"}
    assert "waiting" not in run("refresh").stdout
    assert made(project, "shards/*.tar") == {"a", "b", "c", "d", "e"}


def test_force_makes_chosen_shards_again_and_nothing_else(run, project, photos):
    drop(project, "a", photos[0])
    drop(project, "b", photos[1])
    assert run("refresh").exit_code == 0
    result = run("refresh", "--force", "b")
    assert result.exit_code == 0
    assert "image_embeddings: 1 shard to make, 1 fresh (1 forced)" in result.stdout
    assert "centroids: fresh\n" in result.stdout
    result = run("refresh", "--force")
    assert "image_embeddings: 2 shards to make, 0 fresh (2 forced)" in result.stdout
    assert "centroids: to make (forced)" in result.stdout


def test_a_partition_that_fails_is_named_and_the_status_is_1(run, project, photos):
    drop(project, "a", photos[0])
    tar = drop(project, "b", photos[1])
    assert run("refresh").exit_code == 0
    tar.write_bytes(tar.read_bytes()[:700])
    result = run("refresh")
    assert_one_paragraph(result, 1, "image_embeddings: b: shard 'b'")
    assert made(project, "shards/*.tar") == {"a", "b"}  # what stood there stands


def test_removals_are_held_back_when_the_source_is_empty(run, refreshed):
    (refreshed / "tars/a.tar").unlink()
    assert_one_paragraph(run("refresh"), 3, "1 known shards are gone: a", "--allow-removals")
    assert made(refreshed, "shards/*.tar") == {"a"}
    assert "a refresh would hold back: removals are held back" in run("plan").stdout


def test_plan_makes_nothing_at_all(run, project, photos):
    drop(project, "a", photos[0])
    before = sorted(project.rglob("*"))
    result = run("plan")
    assert result.exit_code == 0, result.output
    assert "1 new shard: a" in result.stdout
    assert ["image_embeddings", "0", "1", "0"] in [x.split() for x in result.stdout.splitlines()]
    assert run("check").exit_code == 0
    assert sorted(project.rglob("*")) == before


def test_a_source_with_nothing_usable_says_what_lies_there(run, project):
    (project / "tars").mkdir()
    assert_one_paragraph(run("refresh"), 2, "holds no tar; expected webdataset shards")
    (project / "tars/a.tar.gz").touch()
    (project / "tars/b.tar").write_bytes(b"x" * 100)
    for command in ("refresh", "plan"):
        result = run(command)
        words = ["a.tar.gz (compressed", "b.tar (it does not end as tars end"]
        assert_one_paragraph(result, 2, "holds nothing that can be taken: ", *words)
        assert "centroids" not in result.output
    assert "a.tar.gz (compressed" in run("check").stdout
    (project / "tars/b.tar").unlink()
    write_members(project / "tars/c.tar", [("0.jpg", b""), ("1.jpg", b""), ("0.jpg", b"")])
    result = run("refresh")
    assert_one_paragraph(result, 1, "image_embeddings: c: ")
    assert "nothing of the source could be embedded" in result.stdout
    assert "1 not taken: a.tar.gz" in result.stdout


def test_two_projects_never_meet(run, here, photos, monkeypatch):
    for name, photo in (("one", photos[0]), ("two", photos[1])):
        run("init", name)
        drop(here / name, f"of_{name}", photo)
    for name in ("one", "two", "one"):
        monkeypatch.chdir(here / name)
        assert run("refresh").exit_code == 0
    for name in ("one", "two"):
        tables = pl.read_parquet(here / name / "curated/shards/*.parquet")
        assert tables["shard"].to_list() == [f"of_{name}"]
        assert not (here / name / "curated/trash").exists()

    monkeypatch.chdir(here / "two")
    monkeypatch.setenv("DAGSTER_HOME", str(here / "one/.dagster"))
    words = ["the instance of the project in", "unset it", "go to that project"]
    assert_one_paragraph(run("refresh"), 2, *words)
    (here / "shared").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(here / "shared"))
    assert run("refresh").exit_code == 0
    monkeypatch.chdir(here / "one")
    assert_one_paragraph(run("refresh"), 2, "is that of another project", "another DAGSTER_HOME")
    assert run("plan").exit_code == 2
    monkeypatch.chdir(here / "two")
    monkeypatch.setenv("DAGSTER_HOME", str(here / "nowhere"))
    assert_one_paragraph(run("refresh"), 2, "expected the absolute path of a folder")

    monkeypatch.delenv("DAGSTER_HOME")
    shutil.copytree(here / "one", here / "copy", symlinks=True)
    monkeypatch.chdir(here / "copy")
    assert run("refresh").exit_code == 0  # its instance is its own, whatever .env says

    settings = yaml.safe_load((here / "copy/curator.yaml").read_text())
    other = here / "copy/other.yaml"
    other.write_text(yaml.safe_dump(settings | {"source": "../two/tars", "output": "elsewhere"}))
    monkeypatch.setenv("CURATOR_CONFIG", str(other))
    for command in ("refresh", "plan", "check"):
        assert_one_paragraph(run(command), 2, "is that of another project")
    monkeypatch.delenv("CURATOR_CONFIG")
    path = here / "copy/curator.yaml"
    path.write_text(yaml.safe_dump(settings | {"source": "../two/tars", "output": "new"}))
    assert run("refresh").exit_code == 0  # the same file, with all of it changed
    other.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "filters": []}))
    monkeypatch.setenv("CURATOR_CONFIG", str(other))
    assert run("refresh").exit_code == 0  # other settings for the same output
    monkeypatch.delenv("CURATOR_CONFIG")
    path.write_text(path.read_text().replace("../two", str(here / "two")))
    (here / "copy").rename(here / "moved")
    monkeypatch.chdir(here / "moved")
    assert run("refresh").exit_code == 0


def test_without_an_env_file_the_line_to_export_is_told_once(run, project, photos):
    drop(project, "a", photos[0])
    line = f"Dagster's own commands find this project after: export DAGSTER_HOME={project}/.dagster"
    assert line in run("refresh").stdout
    assert "export" not in run("refresh").stdout
    assert "enabled: false" in (project / ".dagster/dagster.yaml").read_text()


def test_on_a_terminal_a_bar_takes_the_place_of_lines_of_progress(refreshed):
    """That of a stage for which no model is loaded, as all bars are."""
    Ledger(Store(str(refreshed / "out"))).remove("filter_scores", "a")
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "curator_assets", "refresh"]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=environment | {"TERM": "xterm"}
    ) as process:
        os.close(child)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(parent, 65536):
                shown += data
    os.close(parent)
    assert process.returncode == 0, shown.decode()
    assert "filter_scores \x1b" in shown.decode()  # a bar, in colours
    assert "partitions finished" not in shown.decode()


def test_another_source_for_an_output_lets_go_of_nothing_unasked(run, refreshed, photos):
    path = refreshed / "curator.yaml"
    path.write_text(path.read_text().replace("source: tars", "source: others"))
    write_members(refreshed / "others/b.tar", [("1.jpg", photos[1])])
    result = run("refresh")
    assert_one_paragraph(result, 3, "was made from the source", "1 are not in", "(a)")
    assert made(refreshed, "shards/*.tar") == {"a"}
    plan = run("plan").stdout
    assert "a refresh would hold back: " in plan
    assert "would be let go of" not in plan
    (refreshed / "out/source.txt").unlink()
    assert run("refresh").exit_code == 0
    assert made(refreshed, "shards/*.tar") == {"b"}
    assert made(refreshed, "trash/shards/*.tar") == {"a"}


def test_a_source_that_was_moved_is_the_same(run, refreshed):
    (refreshed / "tars").rename(refreshed / "moved")
    path = refreshed / "curator.yaml"
    path.write_text(path.read_text().replace("source: tars", "source: moved"))
    result = run("refresh")
    step = "1 of 9: image_embeddings: 1 shard fresh, none to make"
    assert f"no new shards, none removed\n{step}" in result.stdout
    assert (refreshed / "out/source.txt").read_text() == "../moved"


def test_a_stale_codebook_waits_for_all_that_it_is_made_from(run, project, photos):
    for i, name in enumerate("ab"):
        drop(project, name, photos[i], photos[i + 1])
    assert run("refresh").exit_code == 0
    before = (project / "out/clusters/centroids.npy").read_bytes()
    settings = yaml.safe_load((project / "curator.yaml").read_text())
    settings["model"] |= {"storage": "float16"}
    settings["clusters"] |= {"seed": 7, "n_clusters": 1}
    (project / "curator.yaml").write_text(yaml.safe_dump(settings))
    result = run("refresh", "a")
    assert "not chosen: centroids, cluster_assignments" in result.stdout
    assert (project / "out/clusters/centroids.npy").read_bytes() == before
    assert run("refresh").exit_code == 0
    assert (project / "out/clusters/centroids.npy").read_bytes() != before


def test_another_source_with_tars_of_the_same_names_makes_nothing_over(run, refreshed, photos):
    before = (refreshed / "out/shards/a.tar").read_bytes()
    path = refreshed / "curator.yaml"
    path.write_text(path.read_text().replace("source: tars", "source: others"))
    images = [(f"{i}.jpg", photo) for i, photo in enumerate(photos[1:])]
    write_members(refreshed / "others/a.tar", images)
    assert_one_paragraph(run("refresh"), 3, "was made from the source", "are other tars there (a)")
    assert_one_paragraph(run("calibrate"), 3, "was made from the source")
    assert (refreshed / "out/shards/a.tar").read_bytes() == before


def test_a_project_that_was_moved_with_a_tar_removed_lets_go_of_it(run, here, photos, monkeypatch):
    run("init", "one")
    for name in "ab":
        drop(here / "one", name, photos[0])
    monkeypatch.chdir(here / "one")
    assert run("refresh").exit_code == 0
    (here / "one").rename(here / "two")
    monkeypatch.chdir(here / "two")
    (here / "two/tars/b.tar").unlink()
    assert run("refresh").exit_code == 0
    assert {p.stem for p in (here / "two/curated/shards").glob("*.tar")} == {"a"}
