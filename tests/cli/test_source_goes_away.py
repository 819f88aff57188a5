"""The source goes away in part or whole: nothing is lost, what vanished is named, it comes back."""

import errno
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from cli.conftest import call_curate_in
from pipeline import MODEL, note_arithmetic
from tar_files import write_members
from unseen import hide

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.settings_file import load_settings

pytestmark = pytest.mark.usefixtures("without_charts")

SHARDS = ["m/0", "m/1", "m/2", "n/0", "n/1", "n/2"]
NEW = "n/3"


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[:280:40]]


@pytest.fixture(scope="module")
def six(tmp_path_factory, photos) -> Path:
    """A project of six curated tars in two folders; to be copied."""
    folder = tmp_path_factory.mktemp("six") / "project"
    settings = {
        "source": "tars",
        "output": "out",
        "model": MODEL,
        "clusters": {"n_clusters": 2, "n_cell_groups": 2},
    }
    for shard, photo in zip(SHARDS, photos, strict=False):
        write_members(folder / f"tars/{shard}.tar", [("0.jpg", photo), ("1.txt", b"no image")])
    (folder / "curator.yaml").write_text(yaml.safe_dump(settings))
    note_arithmetic(load_settings(folder / "curator.yaml"))
    call_curate_in(folder, "refresh")
    return folder


@pytest.fixture
def made(here, six, run) -> Path:
    shutil.copytree(six, here, dirs_exist_ok=True)
    return here


def files(project: Path, *folders: str) -> dict[str, bytes]:
    paths = [p for folder in folders for p in (project / "out" / folder).rglob("*") if p.is_file()]
    return {str(p.relative_to(project / "out")): p.read_bytes() for p in paths}


def tars(project: Path) -> set[str]:
    folder = project / "out/shards"
    return {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.tar")}


def n_embedded(output: str) -> int:
    """Shards that a refresh embedded."""
    found = re.search(r"^1 of 9: image_embeddings: (\d+) shards? to make, ", output, re.MULTILINE)
    return int(found[1]) if found else 0


def unreadable_folder(project: Path, monkeypatch) -> None:
    hide(monkeypatch, "tars/m", errno.ESTALE)


def half_of_the_mounts_gone(project: Path, monkeypatch) -> None:
    (project / "tars/m").rename(project / "away")
    (project / "tars/m").mkdir()


def one_of_six_left(project: Path, monkeypatch) -> None:
    shutil.copytree(project / "tars", project / "copy")
    for shard in SHARDS[:-1]:
        (project / f"tars/{shard}.tar").unlink()


def a_link_to_nothing(project: Path, monkeypatch) -> None:
    (project / "tars/m").rename(project / "away")
    (project / "tars/m").symlink_to(project / "unmounted")


def everything_gone(project: Path, monkeypatch) -> None:
    shutil.move(project / "tars", project / "copy")
    (project / "tars").mkdir()


def no_folder_at_all(project: Path, monkeypatch) -> None:
    shutil.move(project / "tars", project / "copy")


GOES = {
    unreadable_folder: ["m/ (it can't be seen: Stale file handle)", "out of sight: m/0, m/1, m/2"],
    half_of_the_mounts_gone: ["3 known shards are gone: m/0, m/1, m/2"],
    one_of_six_left: ["5 known shards are gone: m/0, m/1, m/2, n/0, n/1"],
    a_link_to_nothing: ["3 known shards are out of sight: m/0, m/1, m/2"],
    no_folder_at_all: ["./ (there is no such folder)", "6 known shards are out of sight"],
    everything_gone: ["6 known shards are gone: m/0, m/1, m/2, n/0, n/1 and 1 more"],
}


@pytest.mark.parametrize("goes", GOES, ids=lambda goes: goes.__name__)
def test_nothing_is_let_go_of_it_is_named_and_new_tars_are_curated(
    made,
    run,
    photos,
    monkeypatch,
    goes,
):
    before = files(made, "shards", "embeddings", "ledger/deduplicated_shards")
    goes(made, monkeypatch)
    is_empty = goes in {everything_gone, no_folder_at_all}
    if not is_empty:
        write_members(made / f"tars/{NEW}.tar", [("0.jpg", photos[6])])
    result = run("refresh")
    assert result.exit_code == 3, result.output
    for words in GOES[goes]:
        assert words in result.stderr
    assert tars(made) == {*SHARDS} | ({NEW} if not is_empty else set())
    assert not (made / "out/trash").exists()
    after = files(made, "shards", "embeddings", "ledger/deduplicated_shards")
    assert {name: after[name] for name in before} == before
    plan = run("plan").stdout
    assert "a refresh would hold back: removals are held back" in plan
    assert "nothing to make" in plan


def test_removals_that_are_allowed_are_done_and_come_back_without_being_embedded(
    made,
    run,
):
    folders = ("shards", "embeddings", "scores", "tars")
    before = files(made, *folders)
    half_of_the_mounts_gone(made, None)
    assert run("refresh", "--allow-removals").exit_code == 0
    assert tars(made) == {"n/0", "n/1", "n/2"}
    gone = {name: data for name, data in before.items() if "/m/" in name}
    trash = files(made, "trash")
    assert {name: trash[f"trash/{name}"] for name in gone} == gone
    listed = run("trash")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        "shard",
        "m/0",
        "m/1",
        "m/2",
        "3",
    ]
    shutil.rmtree(made / "tars/m")
    (made / "away").rename(made / "tars/m")
    os.utime(made / "tars/m/1.tar", (time.time(), 1))  # copied: other time, the same bytes
    write_members(made / "tars/m/2.tar", [("0.txt", b"another tar under the old name")])
    result = run("refresh")
    assert result.exit_code == 0, result.output
    assert n_embedded(result.stdout) == 1
    after = files(made, *folders)
    same = {name for name in before if not name.split(".")[0].endswith("m/2")}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert [line.split()[0] for line in run("trash").stdout.splitlines()] == ["shard", "m/2", "1"]


def test_a_shard_that_rotted_in_the_trash_is_embedded_again(made, run):
    tar = made / "tars/m/0.tar"
    data, status = tar.read_bytes(), tar.stat()
    before = files(made, "shards")
    tar.unlink()
    assert run("refresh").exit_code == 0
    assert tars(made) == set(SHARDS[1:])  # one is let go of unasked
    rotten = made / "out/trash/embeddings/m/0.parquet"
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"?")
    tar.write_bytes(data)
    os.utime(tar, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = run("refresh")
    assert result.exit_code == 0, result.output
    assert n_embedded(result.stdout) == 1
    assert files(made, "shards") == before
    assert run("trash", "--yes").exit_code == 2
    assert run("trash", "--empty").exit_code == 130  # nobody answers
    assert rotten.exists()
    assert run("trash", "--empty", "--yes").exit_code == 0
    assert not (made / "out/trash").exists()
    assert run("trash").stdout == "the trash is empty\n"


def test_what_is_held_back_stays_also_when_all_is_forced(made, run, monkeypatch):
    before = files(made, "shards")
    half_of_the_mounts_gone(made, monkeypatch)
    result = run("refresh", "--force")
    assert result.exit_code == 1
    assert "removals are held back" in result.stderr
    assert files(made, "shards") == before
    assert not (made / "out/trash").exists()
