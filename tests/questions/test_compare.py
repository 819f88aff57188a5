"""Other settings, compared before anything is written: what is foretold is what a refresh does."""

import csv
from collections import Counter

import pytest
import yaml
from pipeline import MODEL

from curator_assets.cli.compare import Summary, print_comparison, print_summary
from curator_assets.cli.refresh import run
from curator_assets.questions.comparison import NotComparableError, compare
from curator_assets.settings_file import SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("without_charts")


def settings_with(project, **changes):
    path = project.folder / "other.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(project_file(project)) | changes))
    return load_settings(path)


def project_file(project) -> str:
    assert project.settings
    return (project.folder / "curator.yaml").read_text()


def verdicts(project) -> dict[str, tuple]:
    columns = ("image_id", "verdict", "reason", "kept_id", "cosine")
    return {row[0]: row[1:] for row in project.table("shards/**/*.parquet").select(columns).rows()}


def output_files(project) -> dict[str, tuple[int, int]]:
    files = (project.folder / "curated").rglob("*.*")
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def tars(project) -> dict[str, int]:
    shards = project.folder / "curated/shards"
    return {str(p.relative_to(shards))[:-4]: p.stat().st_ino for p in shards.rglob("*.tar")}


CHANGES = [
    {"duplicates": {"eps": 0.0005}},
    {"duplicates": {"eps": 0.05}, "filters": [{"score": "sharpness", "min": 4}]},
    {"filters": [{"score": "width", "min": 230}, {"score": "mean_luminance", "max": 0.5}]},
    {"duplicates": {"keep": "best", "best_by": ["sharpness"]}},
    {"duplicates": {"keep": "random", "seed": 3, "max_eps": 0.04, "eps": 0.04}},
    {"duplicates": {"keep": "hard", "rule": "semdedup"}},
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda c: "-".join(c))
def test_what_is_foretold_is_what_a_refresh_does(project, changes):
    before, tars_before = verdicts(project), tars(project)
    second = settings_with(project, **changes)
    files = output_files(project)
    shards = list(compare(project.settings, second))
    assert output_files(project) == files
    foretold = dict(before)
    for sample in (sample for shard in shards for sample in shard.changed):
        assert before[sample.image_id][:2] == (sample.before, sample.reason_before)
        after = (sample.after, sample.reason_after, sample.kept_id, sample.cosine)
        assert after != before[sample.image_id]
        foretold[sample.image_id] = after
    assert foretold != before
    assert run(project.instance, second, force=False)
    try:
        assert verdicts(project) == foretold
        tars_after = tars(project)
        every = tars_before.keys() | tars_after.keys()
        rewritten = {shard for shard in every if tars_before.get(shard) != tars_after.get(shard)}
        assert {shard.shard for shard in shards if shard.rewritten} == rewritten
        kept = project.table("shards/**/*.parquet").filter(verdict="kept")
        assert sum(shard.n_kept[1] for shard in shards) == len(kept)
        assert sum(shard.kept_bytes[1] for shard in shards) == kept["n_bytes"].sum()
    finally:
        assert run(project.instance, project.settings, force=False)
    assert verdicts(project) == before


def test_the_same_settings_change_nothing(project):
    summary = Summary.of(compare(project.settings, project.settings))
    assert summary.n_shards == 3
    assert not summary.causes
    assert not summary.rewritten
    assert not summary.n_pending


def test_tars_that_are_not_yet_as_the_first_settings_ask_are_told(project):
    first = settings_with(project, duplicates={"eps": 0.0001})
    summary = Summary.of(compare(first, project.settings))
    assert summary.n_pending
    assert not summary.rewritten


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"duplicates": {"max_eps": 0.1}}, ["duplicates.max_eps: 0.05 -> 0.1", "cluster_assign"]),
        ({"duplicates": {"search": "fast"}}, ["duplicates.search", "cluster_assignments: 3"]),
        ({"clusters": {"n_clusters": 5, "n_cell_groups": 2}}, ["clusters.n_clusters", "centroids"]),
        (
            {"model": MODEL | {"pretrained": "other"}},
            [
                "model.pretrained: imagenet -> other",
                "image_embeddings: 3 undecided: weights not here yet",
            ],
        ),
        ({"output": "elsewhere"}, ["output"]),
    ],
    ids=str,
)
def test_what_the_stored_data_can_not_answer_is_refused_with_what_it_takes(project, changes, named):
    with pytest.raises(NotComparableError) as error:
        compare(project.settings, settings_with(project, **changes))
    assert all(name in str(error.value) for name in named), error.value


def test_nothing_embedded_is_refused(tmp_path):
    path = tmp_path / "curator.yaml"
    path.write_text("source: tars\noutput: out\n")
    settings = load_settings(path)
    with pytest.raises(NotComparableError, match="nothing is embedded"):
        compare(settings, settings)


def test_the_command_prints_the_matrix_and_writes_every_changed_image(
    project, capsys, monkeypatch, tmp_path
):
    second = settings_with(project, duplicates={"eps": 0.0005})
    changed = [s for shard in compare(project.settings, second) for s in shard.changed]
    monkeypatch.setenv("CURATOR_CONFIG", str(project.folder / "curator.yaml"))
    table = tmp_path / "changed.csv"
    print_comparison([project.folder / "other.yaml"], table)
    printed = capsys.readouterr().out
    assert "duplicates.eps: 0.03 -> 0.0005" in printed
    assert "duplicate -> kept" in printed
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == [sample.image_id for sample in changed]
    assert {row["before"] for row in rows} == {"duplicate"}
    with pytest.raises(SettingsError, match="no settings file at"):
        print_comparison([tmp_path / "missing.yaml"], None)
    settings_with(project, duplicates={"max_eps": 0.4})
    with pytest.raises(NotComparableError, match="the second settings need data"):
        print_comparison([project.folder / "curator.yaml", project.folder / "other.yaml"], None)


def test_columns_stay_apart_however_large_the_numbers(capsys):
    verdicts = Counter({("kept", "kept"): 9_876_543_210, ("kept", "duplicate"): 1_234_567_890})
    print_summary(Summary(verdicts=verdicts, kept_bytes=(2**50, 2**49)), {})
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["kept", "9,876,543,210", "0", "1,234,567,890", "0"] in rows
    assert ["image", "bytes", "1.13", "PB", "563", "TB", "-50.0%"] in rows
