import json
import shutil
from pathlib import Path

import pytest
import yaml
from cli.conftest import assert_one_paragraph
from pipeline import MODEL

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("curator_assets.cli.demo.N_PHOTOGRAPHS", 30)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def test_it_touches_no_other_project_and_says_what_it_does(run, here, monkeypatch):
    mine = here / "mine"
    (mine / "tars").mkdir(parents=True)
    (mine / "tars/00000.tar").write_bytes(b"precious")
    settings = {"source": "tars", "output": "out", "model": MODEL}
    for path in (here / "curator.yaml", mine / "curator.yaml"):
        path.write_text(yaml.safe_dump(settings | {"source": str(mine / "tars")}))
    home = mine / ".dagster"
    home.mkdir()
    monkeypatch.setenv("CURATOR_CONFIG", str(mine / "curator.yaml"))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    before = contents(mine), (here / "curator.yaml").read_bytes()
    result = run("demo", "try")
    assert result.exit_code == 0, result.output
    assert (contents(mine), (here / "curator.yaml").read_bytes()) == before
    assert {path.name for path in here.iterdir()} == {"curator.yaml", "mine", "try"}
    assert "for trying out: on 200 ordinary photographs it found 66 %" in result.stdout
    assert "image_embeddings: 3 shards to make, 0 fresh" in result.stdout
    assert "byte_identical                       2      2" in result.stdout
    assert str(here / "try/curated/report/index.html") in result.stdout

    (here / "try/pair.jpg").write_bytes(b"as its last line suggests")
    again = run("demo", "try")
    assert again.exit_code == 0
    assert "nothing to make: all is up to date" in again.stdout

    (here / "try").rename(here / "moved")
    assert run("demo", "moved").exit_code == 0
    shutil.copytree(here / "moved", here / "try", symlinks=True)
    assert run("demo", "try").exit_code == 0

    path = here / "try/curator.yaml"
    path.write_text(path.read_text().replace("eps: 0.03", "eps: 0.01"))
    before = contents(here / "try")
    assert_one_paragraph(run("demo", "try"), 2, "was changed since", "curate refresh")
    assert contents(here / "try") == before


def test_a_folder_that_holds_something_else_is_refused(run, here):
    (here / "photos").mkdir()
    (here / "photos/1.jpg").write_bytes(b"x")
    assert_one_paragraph(run("demo", "photos"), 2, "holds something else (1.jpg)")
    assert [path.name for path in (here / "photos").iterdir()] == ["1.jpg"]
    assert run("init", "project").exit_code == 0
    (here / "project/tars").mkdir()
    (here / "project/tars/a.tar").write_bytes(b"precious")
    before = contents(here / "project")
    assert_one_paragraph(run("demo", "project"), 2, "holds something else")
    assert contents(here / "project") == before


def test_neither_a_file_of_its_name_nor_a_link_makes_a_folder_a_demos(run, here):
    (here / "u/tars/a").mkdir(parents=True)
    (here / "u/truth.json").write_text('{"mine": 1}')
    (here / "u/tars/a/00000.tar").write_bytes(b"precious")
    before = contents(here)
    assert_one_paragraph(run("demo", "u"), 2, "holds something else")
    assert contents(here) == before
    (here / "v").mkdir()
    (here / "v/.curate-demo").touch()
    (here / "v/tars").symlink_to(here / "u/tars")
    assert_one_paragraph(run("demo", "v"), 2, "holds something else (tars)")
    assert (here / "u/tars/a/00000.tar").read_bytes() == b"precious"
    (here / "v/tars").unlink()
    (here / "v/tars/a").mkdir(parents=True)
    (here / "v/tars/a/00000.tar").write_bytes(b"mine")
    (here / "v/tars/b").symlink_to(here / "u/tars")
    before = contents(here / "u"), (here / "v/tars/a/00000.tar").read_bytes()
    result = run("demo", "v")
    assert_one_paragraph(result, 2, "in the place of tars/a/00000.tar, tars/b")
    assert (contents(here / "u"), (here / "v/tars/a/00000.tar").read_bytes()) == before


def test_a_demo_that_was_killed_is_begun_again(run, here, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("curator_assets.cli.demo.make_shards", killed)
        result = run("demo", "try")
    assert result.exit_code == 130
    assert result.stderr == "error: stopped; what was finished counts, run it again to go on\n"
    assert run("demo", "try").exit_code == 0
    assert len(json.loads((here / "try/truth.json").read_text())) > 30
