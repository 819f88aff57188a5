"""How the UI shows what is told of a partition."""

import logging

import dagster as dg
import pytest

from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.engine.dagster.metadata_values import metadata_values
from curator_assets.engine.dagster.summaries import told
from curator_assets.engine.work import Work
from curator_assets.settings import Settings

MV = dg.MetadataValue


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("sheet", "/out/report/sheets/a.jpg", MV.path("/out/report/sheets/a.jpg")),
        ("eps_curve_chart", "/out/eps_curve.svg", MV.path("/out/eps_curve.svg")),
        ("report", "s3://bucket/index.html", MV.url("s3://bucket/index.html")),
        ("tar", "s3://key:secret@bucket/a.tar", MV.url("s3://***@bucket/a.tar")),
        ("tar", "none: nothing is kept", MV.text("none: nothing is kept")),
        ("why", "/out/a.tar is gone", MV.text("/out/a.tar is gone")),
        ("why", "a\x1b[31m", MV.text("a\\x1b[31m")),
        ("n", 3, MV.int(3)),
        ("passed", True, MV.bool(True)),
        ("share", 0.5, MV.float(0.5)),
        ("rows", [{"row": 1}], MV.table([dg.TableRecord({"row": 1})])),
        ("names", ["a"], MV.json(["a"])),
    ],
)
def test_a_value_is_shown_as_what_it_is(name, value, shown):
    assert metadata_values({name: value}) == {name: shown}


def test_a_sentence_comes_first_and_then_the_report(tmp_path):
    settings = Settings(source=str(tmp_path / "tars"), output=str(tmp_path / "out"))
    work = Work(settings, (), logging.getLogger(__name__))
    counts = dict.fromkeys(DEDUPLICATED_SHARDS.counts, 0) | {"n_samples": 1, "n_kept": 1}
    found = told(DEDUPLICATED_SHARDS, work, counts)
    assert list(found)[:2] == ["summary", "report"]
    assert found["summary"] == "1 sample: 1 kept, no duplicates"
    assert found["report"] == str(tmp_path / "out/report/index.html")
    damaged = {"metadata_error": "it is damaged"}
    assert "summary" not in told(DEDUPLICATED_SHARDS, work, damaged)
