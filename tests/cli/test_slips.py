"""What a person gets wrong: each is one paragraph and its exit status."""

import errno
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from cli.conftest import assert_one_paragraph
from pipeline import MODEL

pytestmark = pytest.mark.usefixtures("without_charts")

BASE = {
    "source": "tars",
    "output": "out",
    "model": MODEL,
    "clusters": {"n_clusters": 4, "n_cell_groups": 2},
}


@pytest.fixture
def project(here, sample_tars) -> Path:
    (here / "tars").symlink_to(sample_tars)
    return here


@pytest.fixture
def embedded(here, curated_folder) -> Path:
    """A project whose images are embedded."""
    shutil.copytree(curated_folder, here, dirs_exist_ok=True)
    return here


def settings(folder: Path, **changes: object) -> None:
    base = BASE | ({"output": "curated"} if (folder / "curated").exists() else {})
    (folder / "curator.yaml").write_text(yaml.safe_dump(base | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"duplicate": {}}, ["duplicate: unknown key; did you mean 'duplicates'?"]),
        ({"duplicates": {"epss": 0}}, ["duplicates.epss: unknown key; did you mean 'eps'?"]),
        ({"filters": [{"score": "width", "mim": 1}]}, ["filters.0.mim", "did you mean 'min'"]),
        ({"heads": {"a": {"weight": "x"}}}, ["heads.a.weight", "did you mean 'weights'"]),
        ({"model": {"zzz": 1}}, ["model.zzz: unknown key; known here: name, pretrained"]),
        ({"filters": [{"score": "widht", "min": 1}]}, ["no column 'widht'", "mean 'width'"]),
        ({"duplicates": {"eps": "lots"}}, ["duplicates.eps", "valid number", "got 'lots'"]),
        ({"duplicates": {"eps": 0.06}}, ["eps 0.06 is above max_eps 0.05", "raise max_eps"]),
        ({"source": "nowhere"}, ["nowhere is not a folder", "set 'source'"]),
        ({"source": "empty"}, ["holds no tar", "end in .tar", "curate pack"]),
        ({"output": "file/out"}, ["nothing can be written there", "Not a directory", "'output'"]),
    ],
)
@pytest.mark.parametrize("command", ["refresh", "plan", "check"])
def test_settings_that_can_not_be(run, project, changes, words, command):
    (project / "empty").mkdir()
    (project / "file").touch()
    settings(project, **changes)
    if command == "check" and set(changes) & {"source", "output"}:
        result = run("check")
        assert result.exit_code == 2
        failed = next(line for line in result.stdout.splitlines() if "FAIL" in line)
        assert all(word in failed for word in words)
    elif command == "plan" and "output" in changes:
        assert_one_paragraph(run("plan"), 2, "Not a directory")
    else:
        assert_one_paragraph(run(command), 2, *words)
    assert {path.name for path in (project / "out").glob("[!.]*")} <= {"lease"}


@pytest.mark.parametrize("text", ["source: [", "a: b: c", "\tx: 1", "source: 'x"])
def test_broken_yaml(run, project, text):
    (project / "curator.yaml").write_text(text)
    assert_one_paragraph(run("refresh"), 2, "is not valid YAML: line 1, column")


def test_no_settings_at_all(run, here):
    assert_one_paragraph(run("refresh"), 2, "no settings file at", "curate init")


def test_a_read_only_disk(run, project, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    settings(project)
    monkeypatch.setattr("curator_assets.storage.room.tempfile.TemporaryFile", read_only)
    assert_one_paragraph(run("refresh"), 2, "Read-only file system", "'output'")


@pytest.mark.parametrize(
    ("name", "pretrained", "words"),
    [
        ("ViT-B-33", "openai", ["no such model", "did you mean 'ViT-B-32'"]),
        ("ViT-B-32", "opnai", ["no such tag or file", "did you mean 'openai'"]),
        ("ViT-B-32", "openai", ["not in the hub's cache", "can't be reached"]),
        ("efficientnet_lite0", "imagenett", ["no such", "did you mean 'imagenet'"]),
    ],
)
def test_a_model_that_can_not_be_had(run, project, monkeypatch, name, pretrained, words):
    monkeypatch.setattr("curator_assets.models.hub._reachable", lambda _: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(project / "cache"))
    settings(project, model={"name": name, "pretrained": pretrained})
    assert_one_paragraph(run("refresh"), 2, *words)
    failed = next(line for line in run("check").stdout.splitlines() if "FAIL" in line)
    assert all(word in failed for word in words)


def head(folder: Path, width: int) -> None:
    torch.save({"weight": torch.zeros(1, width), "bias": torch.zeros(1)}, folder / "head.pth")


HEADS = {"nice": {"weights": "head.pth", "embedding_model": MODEL["name"]}}


def test_a_head_of_another_width(run, embedded):
    head(embedded, 768)
    settings(embedded, heads=HEADS)
    assert_one_paragraph(run("refresh"), 2, "width 768", "gives width 1280", "choose a head")
    assert "width 768" in run("check").stdout


def test_a_damaged_head(run, embedded):
    head(embedded, 1280)
    path = embedded / "head.pth"
    path.write_bytes(path.read_bytes()[:500])
    settings(embedded, heads=HEADS)
    assert_one_paragraph(run("refresh"), 2, "heads.nice", "can't be read", "torch.save")


def test_a_head_that_is_not_there(run, embedded):
    settings(embedded, heads=HEADS)
    assert_one_paragraph(run("refresh"), 2, "heads.nice: no file at", "give the path")


def test_an_unknown_shard_and_a_range_that_runs_backwards(run, embedded):
    settings(embedded)
    assert_one_paragraph(run("refresh", "a/0000"), 2, "no shard 'a/0000'", "mean 'a/0000")
    words = ["runs backwards", "a/00000...b/00000"]
    assert_one_paragraph(run("refresh", "b/00000...a/00000"), 2, *words)


def test_an_unknown_image(run, embedded):
    settings(embedded)
    assert_one_paragraph(run("explain", "a/00000/00001"), 2, "did you mean 'a/00000/0000")
    assert_one_paragraph(run("explain", "c/00000/1"), 2, "no shard of", "did you mean")


def test_a_refresh_while_another_runs(run, embedded, monkeypatch):
    from curator_assets.storage import lease
    from curator_assets.storage.store import Store

    settings(embedded)
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0)
    with lease.hold_lease(Store(str(embedded / "curated")), "the-first"):
        assert_one_paragraph(run("refresh"), 2, "run the-first", "wait for it")
