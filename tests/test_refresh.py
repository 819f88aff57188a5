"""The refresh where things go wrong, and what the UI is told."""

import errno
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import torch
from pipeline import Pipeline, copied
from tar_files import write_members

from curator_assets.cli.plan import planned, print_plan
from curator_assets.cli.refresh import run
from curator_assets.definitions import build_assets
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.dagster.private_names import (
    CachingStaleStatusResolver,
    LoadingContextForTest,
)
from curator_assets.engine.plan import plan
from curator_assets.engine.workers import supervision
from curator_assets.storage.ledger import Entry
from curator_assets.storage.shards.source import MissingSourceError

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[::40]]


def drop(pipeline: Pipeline, name: str, *images: bytes) -> Path:
    path = pipeline.folder / "tars" / f"{name}.tar"
    write_members(path, [(f"{i}.jpg", image) for i, image in enumerate(images)])
    return path


def refresh(pipeline: Pipeline) -> bool:
    return pipeline.refresh()


def show_plan(pipeline: Pipeline) -> None:
    intake, work = planned(pipeline.instance, pipeline.settings)
    print_plan(plan(GRAPH.stages, work), intake, work)


def curated(pipeline: Pipeline) -> set[str]:
    return {path.stem for path in (pipeline.folder / "curated/shards").glob("*.tar")}


def finished(folder: Path, **tars: list[bytes]) -> Path:
    """A project that is refreshed; to be copied."""
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(folder, instance)
        for name, images in tars.items():
            drop(pipeline, name, *images)
        assert refresh(pipeline)
    return folder


@pytest.fixture(scope="module")
def finished_one(tmp_path_factory, photos) -> Path:
    return finished(tmp_path_factory.mktemp("one"), a=[photos[0]])


@pytest.fixture(scope="module")
def finished_two(tmp_path_factory, photos) -> Path:
    tars = {"a": [photos[0], photos[1]], "b": [photos[0], photos[2]]}
    return finished(tmp_path_factory.mktemp("two"), **tars)


@pytest.fixture
def one(finished_one, tmp_path) -> Iterator[Pipeline]:
    """Refreshed, with one image in tar a."""
    with copied(finished_one, tmp_path / "one") as pipeline:
        yield pipeline


@pytest.fixture
def two(finished_two, tmp_path) -> Iterator[Pipeline]:
    """Refreshed, with two images in tar a; in tar b a copy of the first, and another."""
    with copied(finished_two, tmp_path / "two") as pipeline:
        yield pipeline


def test_a_corrupt_tar_fails_alone_and_the_next_refresh_tries_just_that_one(
    pipeline, photos, capsys
):
    for i in range(5):
        drop(pipeline, str(i), photos[i])
    assert refresh(pipeline)
    good = (pipeline.folder / "tars/2.tar").read_bytes()
    new = drop(pipeline, "5", photos[5])
    (pipeline.folder / "tars/2.tar").write_bytes(good[:700])
    assert not refresh(pipeline)
    assert curated(pipeline) == {"0", "1", "2", "3", "4", "5"}  # what stood for 2 still stands
    assert list(pipeline.plan()["image_embeddings"].stale) == ["2"]
    assert new.exists()
    (pipeline.folder / "tars/2.tar").write_bytes(good)
    assert refresh(pipeline)


def test_the_dry_run_says_what_and_why_and_does_nothing(one, photos, capsys):
    one.changes = {"duplicates": {"eps": 0.01}}
    drop(one, "b", photos[1])
    before = sorted(one.folder.rglob("*.json"))
    capsys.readouterr()
    show_plan(one)
    printed = capsys.readouterr().out
    assert "1 never made: b" in printed
    assert ["image_embeddings", "1", "1", "0"] in [line.split() for line in printed.splitlines()]
    assert sorted(one.folder.rglob("*.json")) == before
    assert refresh(one)
    one.changes = {"duplicates": {"eps": 0.02}}
    show_plan(one)
    assert "1 changed: settings or code" in capsys.readouterr().out


def test_a_half_written_tar_is_not_even_registered(pipeline, photos):
    drop(pipeline, "a", photos[0])
    whole = drop(pipeline, "b", photos[1])
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    assert refresh(pipeline)
    assert pipeline.shards() == ["a"]
    whole.write_bytes(data)
    assert refresh(pipeline)
    assert pipeline.shards() == ["a", "b"]


def test_a_marker_says_that_a_tar_is_whole(pipeline, photos):
    pipeline.changes = {"marker": ".done"}
    drop(pipeline, "a", photos[0]).with_name("a.tar.done").touch()
    drop(pipeline, "b", photos[1])
    assert refresh(pipeline)
    assert pipeline.shards() == ["a"]


@pytest.mark.parametrize("on_removed", ["trash", "erase"])
def test_a_removed_tar_goes_everywhere_and_its_copies_stand_for_themselves(two, on_removed):
    two.changes = {"on_removed": on_removed}
    assert two.table("duplicates/groups.parquet")["id"].to_list() == ["b/0"]
    (two.folder / "tars/a.tar").unlink()
    assert refresh(two)
    assert two.shards() == ["b"]
    assert curated(two) == {"b"}
    assert len(two.table("duplicates/groups.parquet")) == 0
    trashed = two.folder / "curated/trash/shards/a.tar"
    assert trashed.exists() == (on_removed == "trash")
    left = [p for p in (two.folder / "curated").rglob("a.*") if "trash" not in p.parts]
    assert left == []


def test_what_is_to_be_erased_is_so_also_where_nothing_is_left(one, photos):
    one.changes = {"on_removed": "erase"}
    drop(one, "a", photos[2])
    assert refresh(one)
    (one.folder / "tars/a.tar").unlink()
    with pytest.raises(MissingSourceError):
        run(one.instance, one.settings, allow_removals=True)
    left = [p for p in (one.folder / "curated").rglob("*") if "embeddings" in p.parts]
    assert [path for path in left if path.is_file()] == []
    assert one.store.names("trash") == []


def test_an_empty_source_removes_nothing(one):
    (one.folder / "tars/a.tar").unlink()
    assert not refresh(one)
    assert one.shards() == ["a"]
    assert curated(one) == {"a"}


def test_transient_errors_are_tried_again_and_lasting_ones_fail_by_name(
    pipeline, photos, monkeypatch
):
    from curator_assets.storage import retries
    from curator_assets.storage.shards.source import Source

    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(supervision, "runs_here", lambda _: True)
    drop(pipeline, "a", photos[0])
    drop(pipeline, "b", photos[1])
    opened, real = [], Source.open

    def flaky(self, shard, *size):
        opened.append(shard)
        if shard == "a" and opened.count("a") <= 2:
            raise OSError(errno.EIO, "connection reset")
        return real(self, shard, *size)

    monkeypatch.setattr(Source, "open", flaky)
    assert refresh(pipeline)
    assert opened.count("a") >= 3

    def broken(self, shard, *size):
        if shard == "c":
            raise OSError(errno.EIO, "connection reset")
        return real(self, shard, *size)

    drop(pipeline, "c", photos[2])
    drop(pipeline, "d", photos[3])
    monkeypatch.setattr(Source, "open", broken)
    assert not refresh(pipeline)
    assert curated(pipeline) == {"a", "b", "d"}


def test_dagsters_own_marks_agree_after_a_refresh(pipeline, photos):
    def stale() -> set[tuple[str, str | None]]:
        settings = pipeline.settings
        definitions = dg.Definitions(assets=build_assets(settings))
        graph = definitions.resolve_asset_graph()
        resolver = CachingStaleStatusResolver(
            pipeline.instance, graph, LoadingContextForTest(pipeline.instance)
        )
        found = set()
        for key in graph.materializable_asset_keys - {dg.AssetKey("eps_calibration")}:
            partitions_def = graph.get(key).partitions_def
            keys = [None]
            if partitions_def:
                keys = partitions_def.get_partition_keys(dynamic_partitions_store=pipeline.instance)
            for partition in keys:
                if resolver.get_status(key, partition).value != "FRESH":
                    found.add((key.to_user_string(), partition))
        return found

    for i in range(3):
        drop(pipeline, str(i), photos[i], photos[5])
    assert refresh(pipeline)
    assert stale() == set()
    pipeline.changes = {"duplicates": {"eps": 0.02}}
    assert ("duplicate_groups", None) in stale()
    assert refresh(pipeline)
    assert stale() == set()
    drop(pipeline, "3", photos[0])
    assert refresh(pipeline)
    assert stale() == set()
    drop(pipeline, "1", photos[4], photos[5])
    assert refresh(pipeline)
    assert stale() == set()


def test_a_source_without_a_readable_image_is_curated_and_gets_its_codebook_later(pipeline, photos):
    drop(pipeline, "a", b"broken")
    assert refresh(pipeline)
    assert curated(pipeline) == set()
    drop(pipeline, "b", *photos[:5])
    assert refresh(pipeline)
    assert curated(pipeline) == {"b"}
    codebook = pipeline.instance.get_latest_materialization_event(dg.AssetKey("centroids"))
    assert codebook.asset_materialization.metadata["n_images"].value == 5
    assert not any(found.stale for found in pipeline.plan().values())


def test_a_broken_tar_costs_no_cell_group_of_its_name(two, photos):
    good = drop(two, "0000", photos[3]).read_bytes()
    assert refresh(two)
    (two.folder / "tars/0000.tar").write_bytes(good[:700])
    two.changes = {"duplicates": {"max_eps": 0.06}}
    before = [two.ledger.read("near_duplicate_pairs", group) for group in ("0000", "0001")]
    assert not refresh(two)
    after = [two.ledger.read("near_duplicate_pairs", group) for group in ("0000", "0001")]
    assert all(a.fingerprint != b.fingerprint for a, b in zip(after, before, strict=True))


def broken_for_b(real, *arguments):
    if "b" in arguments:
        raise OSError(errno.EIO, "connection reset")
    return real(*arguments)


def test_storage_that_fails_while_a_touched_tar_is_looked_at_costs_that_shard(
    two, photos, monkeypatch
):
    from curator_assets.defs.embed import embedded_tables, image_embeddings

    os.utime(two.folder / "tars/b.tar", (1, 1))
    drop(two, "c", photos[3])

    for module, name in (
        (image_embeddings, "record_version"),
        (embedded_tables, "version_of_content"),
    ):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, partial(broken_for_b, real))
    monkeypatch.setattr(supervision, "runs_here", lambda _: True)
    monkeypatch.setattr("curator_assets.storage.retries.FIRST_WAIT_SECONDS", 0.01)
    assert not refresh(two)
    assert curated(two) == {"a", "b", "c"}


def test_a_check_that_can_not_be_made_fails_as_a_check_and_holds_nothing_up(
    pipeline, photos, monkeypatch
):
    from curator_assets.defs.deduplicate import near_duplicate_pairs

    def broken(*_, **__):
        raise OSError(errno.EIO, "connection reset")

    monkeypatch.setattr(near_duplicate_pairs, "measured_recall", broken)
    drop(pipeline, "a", photos[0], photos[1])
    assert refresh(pipeline)
    assert curated(pipeline) == {"a"}


def test_a_head_that_is_gone_fails_the_scores_by_name(pipeline, photos):
    drop(pipeline, "a", photos[0])
    head = {"weights": str(pipeline.folder / "gone.pt"), "embedding_model": "efficientnet_lite0"}
    pipeline.changes = {"heads": {"beauty": head}}
    assert not refresh(pipeline)
    plans = pipeline.plan()
    assert plans["image_embeddings"].n_fresh == 1
    assert list(plans["filter_scores"].undecided) == ["a"]
    (pipeline.folder / "gone.pt").write_bytes(b"no head")
    result = pipeline.materialize("filter_scores", partitions=("a", "a"), fails=True)
    message = result.failure_data_for_node("filter_scores").user_failure_data.description
    assert "heads.beauty: " in message
    assert "gone.pt can't be read as a head's state dict" in message


def test_scores_of_other_heads_decide_nothing(one):
    torch.save({"weight": torch.zeros(1, 7), "bias": torch.zeros(1)}, one.folder / "narrow.pt")
    head = {"weights": "narrow.pt", "embedding_model": "efficientnet_lite0"}
    one.changes = {"heads": {"beauty": head}}
    assert not refresh(one)
    result = one.materialize("duplicate_groups", fails=True)
    message = result.failure_data_for_node("duplicate_groups").user_failure_data.description
    assert "filter_scores of 'a' are of other heads than the settings name" in message


@pytest.mark.parametrize("state", [{"tags": None}, {"files": [], "tags": {}}, {"files": {"x": 1}}])
def test_a_damaged_record_of_weights_is_as_none(one, state):
    assert refresh(one)  # the report shows where it lies
    one.ledger.write("weights", None, Entry("", "", state=state))
    assert not any(found.stale for found in one.plan().values())


def test_the_plan_knows_that_a_codebook_is_trained_once_there_is_an_image(pipeline, photos):
    drop(pipeline, "a", b"broken")
    assert refresh(pipeline)
    drop(pipeline, "b", photos[0])
    plans = pipeline.plan()
    assert plans["centroids"].n_fresh == 0
    assert list(plans["cluster_assignments"].undecided) == ["a", "b"]
    assert refresh(pipeline)
    assert not any(found.stale or found.undecided for found in pipeline.plan().values())
