"""Shards and keys of any name go through a refresh, and reach a terminal as what they are."""

import dagster as dg
import pytest
import yaml
from pipeline import MODEL, Pipeline
from tar_files import write_members

SHARDS = [
    "part...final",
    "a|b",
    "a[0-9]b",
    "a*b?",
    " lead and trail ",
    "50%20#1:2%",
    "bell\x07 and\nline",
    "\u202eturned",
    r"back\slash\x41",
    "[red]$x^{$",
]
KEY = "k\x1b[31m\u202e[bold]"


@pytest.fixture
def project(here, shared_data):
    photo = sorted((shared_data / "flowers/daisy").glob("*.jpg"))[0].read_bytes()
    for shard in SHARDS:
        write_members(here / "tars" / f"{shard}.tar", [(f"{KEY}.jpg", photo)])
    settings = {"source": "tars", "output": "curated", "model": MODEL}
    (here / "curator.yaml").write_text(yaml.safe_dump(settings))
    return here


def test_odd_names_from_tar_to_verdict(run, project):
    result = run("refresh")
    assert result.exit_code == 0, result.output
    kept = [path.stem for path in (project / "curated/shards").glob("*.tar")]
    assert len(kept) == 1
    tables = {path.stem for path in (project / "curated/shards").glob("*.parquet")}
    assert tables == set(SHARDS)
    printed = result.output + run("plan").output
    assert "nothing to make: all is up to date" in printed
    for shard in SHARDS:
        result = run("explain", f"{shard}/{KEY}")
        assert result.exit_code == 0, result.output
        assert "up to date  yes" in result.stdout
        assert r"k\x1b[31m\u202e[bold]" in result.stdout
        printed += result.output
    (project / "curated" / "shards" / "a|b.parquet").unlink()
    result = run("refresh", "part...final", "a*b?...a|b")
    assert result.exit_code == 0, result.output
    assert (project / "curated" / "shards" / "a|b.parquet").exists()
    printed += result.output + run("explain", f"nowhere/{KEY}").output
    assert not set(printed) & set("\x1b\x07\u202e")
    home = str(project / ".dagster")
    with dg.DagsterInstance.from_config(home) as instance:
        keys = instance.get_dynamic_partitions("shards")
        assert r"part\x2e..final" in keys
        pipeline = Pipeline(project, instance)
        assert set(pipeline.shards()) == set(SHARDS)
        made = instance.get_materialized_partitions(dg.AssetKey("deduplicated_shards"))
        assert made == set(keys)
