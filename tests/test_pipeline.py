"""The whole graph over real photographs with planted cases."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from pipeline import Pipeline, copied, work_done
from tar_files import read_members

from curator_assets.demo.samples import make_shards


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    truth = make_shards(folder / "tars", n_samples=40, seed=0)
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(folder, instance)
        pipeline.run_all()
        yield pipeline, truth


@pytest.fixture
def mine(finished, tmp_path: Path) -> Iterator[Pipeline]:
    """A copy of the finished project, for other settings."""
    with copied(finished[0].folder, tmp_path / "mine") as pipeline:
        yield pipeline


def test_every_sample_of_every_tar_has_a_verdict(finished):
    pipeline, _ = finished
    verdicts = pipeline.table("shards/**/*.parquet")
    read = {
        f"{shard}/{name.partition('.')[0]}"
        for shard in pipeline.shards()
        for name in read_members(pipeline.folder / "tars" / f"{shard}.tar")
    }
    assert sorted(verdicts["image_id"]) == sorted(read)
    assert set(verdicts["verdict"]) == {"kept", "duplicate", "unreadable"}


def test_planted_cases_are_found(finished):
    pipeline, truth = finished
    verdicts = {row["image_id"]: row for row in pipeline.table("shards/**/*.parquet").to_dicts()}
    cases = Counter()
    for planted in truth:
        found = verdicts[planted.id]
        cases[planted.case] += 1
        if planted.case in {"byte_identical", "re_encoded"}:
            assert found["verdict"] == "duplicate", planted
            assert same_group(verdicts, planted.id, planted.of), planted
        if planted.expect.startswith("unreadable"):
            reason = planted.expect.partition(":")[2]
            assert (found["verdict"], found["reason"]) == ("unreadable", reason), planted
        if planted.expect == "kept":
            assert found["verdict"] == "kept", planted
    assert {"byte_identical", "re_encoded", "truncated", "empty"} <= set(cases)


def same_group(verdicts, one, other):
    def kept(image_id):
        return verdicts[image_id]["kept_id"] or image_id

    return kept(one) == kept(other)


def test_no_two_different_photographs_are_merged(finished):
    pipeline, truth = finished
    copies = {planted.id: planted.of for planted in truth if planted.of}
    for row in pipeline.table("duplicates/ids/**/*.parquet").to_dicts():
        assert copies.get(row["id"], row["id"]) == copies.get(row["kept_id"], row["kept_id"]), row


def test_curated_tars_hold_the_very_bytes_of_the_kept_samples_in_order(finished):
    pipeline, _ = finished
    for shard in pipeline.shards():
        source = read_members(pipeline.folder / "tars" / f"{shard}.tar")
        verdicts = pipeline.table(f"shards/{shard}.parquet")
        kept = set(verdicts.filter(pl.col("verdict") == "kept")["key"])
        expected = {n: data for n, data in source.items() if n.partition(".")[0] in kept}
        curated = read_members(pipeline.folder / "curated/shards" / f"{shard}.tar")
        assert list(curated.items()) == list(expected.items())


def test_every_kept_id_is_kept_and_within_eps(finished):
    pipeline, _ = finished
    verdicts = pipeline.table("shards/**/*.parquet")
    kept = set(verdicts.filter(pl.col("verdict") == "kept")["image_id"])
    duplicates = verdicts.filter(pl.col("verdict") == "duplicate")
    assert set(duplicates["kept_id"]) <= kept
    assert duplicates["cosine"].min() >= 0.97


def test_all_checks_passed_for_every_partition(finished):
    pipeline, _ = finished
    n = len(pipeline.shards())
    for asset, check, n_passed in [
        ("image_embeddings", "unit_norms", n),
        ("deduplicated_shards", "accounting", n),
        ("deduplicated_shards", "bytes_equal_source", n),
        ("duplicate_groups", "every_kept_id_is_kept", None),
    ]:
        key = dg.AssetCheckKey(dg.AssetKey(asset), check)
        history = pipeline.instance.event_log_storage.get_asset_check_execution_history(
            key, limit=100
        )
        assert [record.status.value for record in history] == ["SUCCEEDED"], (asset, check)
        metadata = history[0].event.dagster_event.event_specific_data.metadata
        assert n_passed is None or metadata["n_passed"].value == n_passed


def test_running_everything_again_does_no_work_and_changes_no_byte(finished):
    pipeline, _ = finished
    before = pipeline.output_bytes()
    assert set(pipeline.run_all().values()) == {0}
    assert pipeline.output_bytes() == before


def test_the_same_tars_in_another_project_give_the_same_bytes(finished, pipeline):
    other, _ = finished
    (pipeline.folder / "tars").symlink_to(other.folder / "tars")
    pipeline.changes = {"clusters": {"n_clusters": 7, "n_cell_groups": 3}}
    pipeline.run_all()
    assert pipeline.output_bytes() == other.output_bytes()


def test_another_eps_only_resolves_again(mine):
    mine.changes = {"duplicates": {"eps": 0.0001}}
    done = mine.run_all()
    assert {asset for asset, n in done.items() if n} == {
        "duplicate_groups",
        "duplicate_ids",
        "deduplicated_shards",
        "curation_report",
    }
    assert done["duplicate_groups"] == 1


def test_filtered_images_stand_for_nobody(mine):
    before = mine.table("duplicates/groups.parquet")
    widths = mine.table("shards/**/*.parquet").select("image_id", "width")
    kept_widths = before.join(widths, left_on="kept_id", right_on="image_id")["width"]
    threshold = int(kept_widths.median()) + 1
    mine.changes = {"filters": [{"score": "width", "min": threshold}]}
    mine.run_all()
    verdicts = mine.table("shards/**/*.parquet")
    filtered = verdicts.filter(pl.col("verdict") == "filtered")
    assert len(filtered)
    assert set(filtered["reason"]) == {f"width < {threshold}"}
    assert not set(filtered["image_id"]) & set(verdicts["kept_id"].drop_nulls())


@pytest.mark.parametrize(
    "duplicates",
    [
        {"keep": "best", "best_by": ["sharpness"]},
        {"keep": "hard"},
        {"keep": "easy"},
        {"keep": "random"},
        {"keep": "hard", "rule": "semdedup"},
    ],
    ids=lambda d: "-".join(str(v) for v in d.values()),
)
def test_every_policy_runs_and_accounts_for_every_sample(mine, duplicates):
    total = len(mine.table("embeddings/**/*.parquet"))
    mine.changes = {"duplicates": duplicates}
    done = mine.run_all()
    assert done["duplicate_groups"] == 1
    assert done["near_duplicate_pairs"] == 0
    assert len(mine.table("shards/**/*.parquet")) == total
    if duplicates["keep"] == "best":
        rows = mine.table("shards/**/*.parquet").select("image_id", "sharpness")
        groups = mine.table("duplicates/groups.parquet")
        ranked = groups.join(rows, left_on="id", right_on="image_id").join(
            rows, left_on="kept_id", right_on="image_id", suffix="_kept"
        )
        assert (ranked["sharpness_kept"] >= ranked["sharpness"]).all()


def test_one_partition_alone_can_be_made(finished, pipeline):
    other, _ = finished
    (pipeline.folder / "tars").symlink_to(other.folder / "tars")
    pipeline.register()
    shard = pipeline.shards()[0]
    result = pipeline.materialize("image_embeddings", partitions=(shard, shard))
    assert work_done(result) == {"image_embeddings": 1}
    result = pipeline.materialize("duplicate_ids", partitions=(shard, shard), fails=True)
    description = result.failure_data_for_node("duplicate_ids").user_failure_data.description
    assert "--select duplicate_groups" in description
