import dagster as dg
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pipeline import Pipeline, work_done
from tar_files import read_members, write_members

from curator_assets.defs.deduplicate.eps_calibration import random_pair_cosines
from curator_assets.demo.samples import make_shards
from curator_assets.kernels.augment import TRANSFORMS
from curator_assets.storage.calibration import (
    MAX_SHARDS,
    RANDOM_PAIRS,
    choose_shards,
    summarise,
)

CALIBRATION = {"calibration": {"n_images": 12, "seed": 7}}


def embedded(folder, instance) -> Pipeline:
    make_shards(folder / "tars", n_samples=40, seed=0)
    pipeline = Pipeline(folder, instance, CALIBRATION)
    embed(pipeline)
    return pipeline


def embed(pipeline: Pipeline) -> None:
    pipeline.register()
    shards = pipeline.shards()
    pipeline.materialize("image_embeddings", partitions=(shards[0], shards[-1]))


def files(pipeline: Pipeline) -> dict[str, bytes]:
    folder = pipeline.folder / "curated" / "calibration"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = embedded(tmp_path_factory.mktemp("calibrated"), instance)
        yield pipeline, pipeline.materialize("eps_calibration")


def metadata(result: dg.ExecuteInProcessResult):
    (event,) = result.get_asset_materialization_events()
    return event.materialization.metadata


def test_the_table_has_a_row_a_transform_and_one_of_random_pairs(calibrated):
    pipeline, result = calibrated
    table = pipeline.table("calibration/eps.parquet")
    assert table["transform"].to_list() == [*TRANSFORMS, RANDOM_PAIRS]
    assert set(table["n"][:-1]) == {12}
    assert metadata(result)["n_sampled"].value == 12
    assert metadata(result)["n_skipped"].value == 0


def test_quantiles_and_what_is_found_are_monotone(calibrated):
    pipeline, _ = calibrated
    table = pipeline.table("calibration/eps.parquet")
    found = table.select(pl.col("^found_at_eps_.*$")).to_numpy()
    assert found.shape[1] == 5
    assert (np.diff(found, axis=1) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()
    quantiles = ["min", "p1", "p5", "p25", "median", "p75", "p99", "p99_9", "max"]
    assert (np.diff(table.select(quantiles).to_numpy(), axis=1) >= 0).all()


def test_milder_copies_lie_nearer_and_all_nearer_than_random_pairs(calibrated):
    pipeline, _ = calibrated
    rows = {row["transform"]: row for row in pipeline.table("calibration/eps.parquet").to_dicts()}
    median = {name: row["median"] for name, row in rows.items()}
    assert median["JPEG quality 85"] > median["JPEG quality 60"]
    assert median["resize to 75 %"] > median["resize to 50 %"]
    assert median["crop by 2 %"] > median["crop by 5 %"] > median["crop by 10 %"]
    assert median["JPEG quality 85"] > rows[RANDOM_PAIRS]["p99"]
    assert min(median[name] for name in TRANSFORMS) > rows[RANDOM_PAIRS]["median"]


def test_the_plot_is_a_file_that_the_metadata_links_to(calibrated):
    pipeline, result = calibrated
    assert files(pipeline)["eps.svg"].startswith(b'<svg role="img"')
    assert metadata(result)["plot"].value == str(pipeline.folder / "curated/calibration/eps.svg")


def test_again_does_no_work_and_another_eps_only_draws_again(calibrated):
    pipeline, _ = calibrated
    before = files(pipeline)
    assert work_done(pipeline.materialize("eps_calibration")) == {"eps_calibration": 0}
    try:
        pipeline.changes = CALIBRATION | {"duplicates": {"eps": 0.02}}
        assert work_done(pipeline.materialize("eps_calibration")) == {"eps_calibration": 1}
        after = files(pipeline)
        assert {name for name in before if before[name] != after[name]} == {"eps.svg"}
    finally:
        pipeline.changes = CALIBRATION
        pipeline.materialize("eps_calibration")
    assert files(pipeline) == before


def test_lost_files_are_made_again_byte_for_byte(calibrated):
    pipeline, _ = calibrated
    before = files(pipeline)
    for name in before:
        (pipeline.folder / "curated" / "calibration" / name).unlink()
    assert work_done(pipeline.materialize("eps_calibration")) == {"eps_calibration": 1}
    assert files(pipeline) == before


def test_a_tar_that_changed_since_it_was_embedded_is_refused(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = embedded(tmp_path, instance)
        for tar in (tmp_path / "tars").rglob("*.tar"):
            members = read_members(tar)
            write_members(
                tar, ((n, d + b"!" if n.endswith("g") else d) for n, d in members.items())
            )
        result = pipeline.materialize("eps_calibration", fails=True)
    message = result.failure_data_for_node("eps_calibration").user_failure_data.description
    assert "has changed since it was embedded" in message


@pytest.mark.parametrize("members", [None, [("a.jpg", b""), ("b.jpg", b"text")]])
def test_without_an_image_it_says_what_is_missing(pipeline, members):
    (pipeline.folder / "tars").mkdir()
    if members:
        write_members(pipeline.folder / "tars" / "a.tar", members)
        embed(pipeline)
    result = pipeline.materialize("eps_calibration", fails=True)
    message = result.failure_data_for_node("eps_calibration").user_failure_data.description
    assert ("could be copied" if members else "materialise image_embeddings first") in message


def test_a_few_shards_are_chosen_whatever_their_order():
    shards = [f"{i:05d}" for i in range(1000)]
    chosen = choose_shards(shards, seed=1)
    assert len(set(chosen)) == MAX_SHARDS
    assert chosen == sorted(chosen) == choose_shards(shards[::-1], seed=1)
    assert chosen != choose_shards(shards, seed=2)
    assert choose_shards(["b", "a"], seed=1) == ["a", "b"]


def test_random_pairs_are_of_different_contents():
    embeddings = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    cosines = random_pair_cosines(embeddings, np.array([0, 0, 1]), n_pairs=100, seed=0)
    assert 0 < len(cosines) < 100
    assert not cosines.any()
    same_vector = random_pair_cosines(embeddings[:2], np.array([0, 1]), n_pairs=9, seed=0)
    assert same_vector.tolist() == [1.0] * 9


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_images_make_no_random_pair(n):
    vectors = np.ones((n, 1), np.float32)
    assert len(random_pair_cosines(vectors, np.arange(n), n_pairs=9, seed=0)) == 0


def test_the_summary_of_literal_cosines():
    cosines = pa.table(
        {
            "transform": ["crop"] * 5 + [RANDOM_PAIRS],
            "cosine": pa.array([1.0, 0.98, 0.96, 0.94, 0.5, 0.1], pa.float32()),
        }
    )
    crop, random = summarise(cosines).to_pylist()
    assert (crop["n"], crop["max"]) == (5, 1.0)
    assert crop["median"] == pytest.approx(0.96)
    found = [crop[f"found_at_eps_{eps}"] for eps in ("0.01", "0.02", "0.03", "0.05", "0.1")]
    assert found == [0.2, 0.4, 0.4, 0.6, 0.8]
    assert random["found_at_eps_0.1"] == 0
