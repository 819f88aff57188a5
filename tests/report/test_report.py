"""The report as a person meets it: what it shows, what it says, and when it is made again."""

import json
import re

import polars as pl
from pipeline import Pipeline, work_done
from tar_files import read_members, write_members

from curator_assets.storage import layout

LIMIT_BYTES = 10_000_000


def page(project: Pipeline) -> str:
    return (project.folder / "curated/report/index.html").read_text()


def summary(project: Pipeline) -> dict:
    return json.loads((project.folder / "curated/report/summary.json").read_text())


def made(project: Pipeline) -> bool:
    return bool(work_done(project.materialize("curation_report"))["curation_report"])


def test_pictures_captions_and_guesses_are_shown(finished):
    text = page(finished)
    assert text.count("data:image/jpeg;base64,") > 30
    assert "image absent" not in text
    assert "identical bytes" in text and "re-encoded" in text and "cropped to 9" in text
    assert '<p class="caption">' in text
    assert len(text.encode()) < LIMIT_BYTES


def test_dagster_shows_the_funnel_and_links_to_the_eps_curve(finished):
    metadata = finished.ledger.read_metadata("curation_report")
    assert metadata["funnel"][0] == {
        "step": "read",
        "images": metadata["n_samples"],
        "bytes": summary(finished)["n_bytes"],
    }
    chart = finished.folder / "curated" / layout.report_chart("eps_curve")
    assert metadata["eps_curve_chart"] == str(chart)
    assert chart.exists()
    assert metadata["n_images_absent"] == 0


def test_making_it_again_changes_nothing(project, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    assert made(project)  # the folder is another, and the report shows the settings
    assert not made(project)
    before = {p.name: p.read_bytes() for p in (project.folder / "curated/report").rglob("*.*")}
    (project.folder / "curated/report/index.html").unlink()
    assert made(project)
    after = {p.name: p.read_bytes() for p in (project.folder / "curated/report").rglob("*.*")}
    assert after == before
    assert not made(project)


def test_what_is_not_taken_is_told_first_listed_below_and_makes_it_again(project):
    assert made(project)
    assert "not taken" not in page(project)
    for i in range(12):
        (project.folder / f"tars/{i:02d}.tar.gz").touch()
    project.register()
    assert made(project)
    first_part, _, rest = page(project).partition('id="removed"')
    assert "12 files of the source are not taken, or gone from it." in first_part
    assert 'href="#not-taken"' in first_part and 'id="not-taken"' in rest
    assert "09.tar.gz" in rest and "10.tar.gz" not in rest
    assert "… and 2 more: all are in not_taken.json" in rest
    assert summary(project)["n_not_taken"] == 12
    project.register()
    assert not made(project)


def test_changes_since_the_last_report(project):
    project.changes["filters"] = [{"score": "width", "min": 250}]
    (project.folder / "curated/report/charts/eps_curve.png").touch()
    before = summary(project)
    project.run_all()
    text, now = page(project), summary(project)
    charts = {p.name for p in (project.folder / "curated/report/charts").iterdir()}
    others = {
        "score_beauty.svg",
        "eps_curve.svg",
        "group_sizes.svg",
        "shard_pairs.svg",
        "cells.svg",
        "cell_sizes.svg",
    }
    assert charts == {"score_width.svg", *others}
    assert now["n_filtered"] != before["n_filtered"]
    row = '>n_filtered</th><td class="text">{}</td><td class="text">{}</td><td>{:+}</td>'
    then_now = before["n_filtered"], now["n_filtered"]
    assert row.format(*then_now, then_now[1] - then_now[0]) in text
    assert '<th scope="row">settings.filters</th>' in text


def test_absent_images_leave_placeholders_and_a_line(project):
    replaced, gone, _ = project.shards()
    members = read_members(project.folder / "tars" / f"{replaced}.tar")
    write_members(project.folder / "tars" / f"{replaced}.tar", [*members.items(), ("z.jpg", b"1")])
    (project.folder / "tars" / f"{gone}.tar").unlink()
    before = summary(project)
    assert made(project)
    n_absent = project.ledger.read_metadata("curation_report")["n_images_absent"]
    assert n_absent > 0
    assert re.search(rf"{n_absent} of the \d+ images shown are absent", page(project))
    assert page(project).count("image absent") >= n_absent
    assert "data:image/jpeg" in page(project)
    assert summary(project) == before | {"settings": project.settings.model_dump(mode="json")}


def test_verdicts_make_it_again_and_are_counted(project):
    report = project.folder / "curated/report"
    to_mark = pl.read_csv(report / "pairs_to_mark.csv")
    assert to_mark.columns == ["image_id", "kept_id", "cosine", "band", "model", "verdict"]
    assert to_mark["cosine"].max() < 1  # nothing can be told of identical ones
    assert to_mark["verdict"].null_count() == len(to_mark) > 4
    marked = to_mark.with_columns(
        verdict=pl.Series(["duplicate", "different", *[None] * (len(to_mark) - 2)])
    )
    marked.write_csv(report / "verdicts.csv")
    assert made(project)
    assert summary(project)["n_marked"] == 2
    assert (report / "verdicts.csv").read_text() == marked.write_csv()
    left = pl.read_csv(report / "pairs_to_mark.csv")
    assert set(left["image_id"]) == set(to_mark["image_id"][2:])
    rows = pl.read_parquet(report / "tables/precision.parquet")
    assert (rows["n_marked"].sum(), rows["n_duplicate"].sum()) == (2, 1)
    assert "Recommended eps:" in page(project)
    assert not made(project)
    (report / "verdicts.csv").write_text(marked.write_csv().replace("different", "perhaps"))
    result = project.materialize("curation_report", fails=True)
    description = result.failure_data_for_node("curation_report").user_failure_data.description
    assert "report/verdicts.csv, line 3: verdict 'perhaps'" in description


def test_a_table_that_was_filled_in_in_place_is_not_overwritten(project):
    path = project.folder / "curated/report/pairs_to_mark.csv"
    filled = path.read_text().replace(",\n", ",yes\n", 1)
    path.write_text(filled)
    assert made(project)
    assert path.read_text() == filled
    assert "pairs_to_mark.csv holds 1 verdict and was left as it is" in page(project)
    assert not made(project)


def test_a_resolution_that_is_out_of_date_is_refused(project):
    project.changes["duplicates"] = {"eps": 0.02, "max_eps": 0.03}
    result = project.materialize("curation_report", fails=True)
    description = result.failure_data_for_node("curation_report").user_failure_data.description
    assert "duplicate_groups is not up to date" in description


def test_names_from_data_are_escaped_and_empty_projects_have_a_report(pipeline, finished):
    source = read_members(finished.folder / "tars" / f"{finished.shards()[0]}.tar")
    images = [data for name, data in source.items() if name.endswith(".jpg")][:2]
    evil = "<script>alert(1)<b>"
    members = []
    for key, data in ((f"{evil}0", images[0]), (f"{evil}1", images[0]), ("x", images[1])):
        members += [(f"{key}.jpg", data), (f"{key}.txt", evil.encode())]
    write_members(pipeline.folder / "tars" / "<script>$a_b$" / "<i>0.tar", members)
    pipeline.changes = {"clusters": {"n_clusters": 1, "n_cell_groups": 1}}
    pipeline.run_all()
    text = page(pipeline)
    assert "<script" not in text and "(1)<b>" not in text and "<i>0" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert summary(pipeline)["n_duplicates"] == 1
    assert "1 image is removed as a duplicate, in 1 <" in text
    assert ">group</button>, the largest of 2 images." in text
    assert "The removed pair nearest to eps" in text
    assert not re.search(r"[> ]1 (image|sample|group|duplicate|shard|cluster|file)s\b", text)
    assert "There are no filters and no score heads." in text

    pipeline.changes |= {"filters": [{"score": "width", "min": 99_999}]}
    pipeline.run_all()
    now = summary(pipeline)
    assert (now["n_kept"], now["n_filtered"], now["n_groups"]) == (0, 3, 0)
    assert now["n_shards_without_tar"] == 1
    assert "1 of 1 shard keeps nothing and has no curated tar." in page(pipeline)
    assert "Nothing is kept." in page(pipeline)
    assert "There are no duplicates." in page(pipeline)
