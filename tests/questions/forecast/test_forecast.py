"""A forecast holds what a refresh then does, and changes nothing."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from pipeline import Pipeline
from tar_files import read_members, write_members

from curator_assets.cli.plan import planned
from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.duplicate_ids import DUPLICATE_IDS
from curator_assets.defs.embed.embedding_weights import WEIGHTS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS, n_images
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.plan import plan
from curator_assets.engine.progress import Watch
from curator_assets.questions.forecast.expected_making import expected_making
from curator_assets.questions.forecast.forecast import Forecast, forecast, to_embed
from curator_assets.questions.forecast.ranges import Range
from curator_assets.storage.shards.tars import content_hash


@pytest.fixture
def mine(curated_folder, tmp_path) -> Iterator[Pipeline]:
    """A finished project of this test's own."""
    shutil.copytree(curated_folder, tmp_path / "project")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(tmp_path / "project", instance)


def foretold(project: Pipeline, watch: Watch | None = None, **how) -> Forecast | None:
    intake, work = planned(project.instance, project.settings, watch)
    return forecast(plan(GRAPH.stages, work), work, intake.removed, **how)


def tars(project: Pipeline) -> list[Path]:
    return sorted((project.folder / "tars").rglob("*.tar"))


def images_of(path: Path) -> list[bytes]:
    return [
        data for name, data in read_members(path).items() if not name.endswith((".txt", ".json"))
    ]


def test_of_nothing_to_make_there_is_no_forecast(curated_folder):
    with dg.DagsterInstance.ephemeral() as instance:
        done = Pipeline(curated_folder, instance)  # only looked at
        assert foretold(done) is None
        assert foretold(done, exact=True) is None


def test_a_tar_under_a_new_name_is_expected_to_be_copied(mine):
    path = tars(mine)[0]
    path.rename(path.with_name("renamed.tar"))
    found = foretold(mine)
    entry = mine.ledger.read(IMAGE_EMBEDDINGS.name, "a/00000")
    assert found.images.n_images == Range.of(n_images(entry))
    assert found.images.n_reused.expected == found.images.n_reused.high == n_images(entry)
    assert (found.images.n_encoded.low, found.images.n_encoded.expected) == (0, 0)
    assert found.search.compared.expected == 0


def test_a_tar_that_was_added_to_is_expected_to_be_copied_in_part(mine):
    path = tars(mine)[0]
    members = list(read_members(path).items())
    added = [(f"added/{name.replace('/', '_')}", data) for name, data in members]
    write_members(path, [*members, *added])
    found = foretold(mine).images
    before = mine.ledger.read(IMAGE_EMBEDDINGS.name, "a/00000").state
    assert 0 < found.n_reused.low < found.n_reused.high <= before["n_samples"]
    assert found.n_encoded.high > 0


def test_another_precision_copies_nothing(mine):
    mine.changes["model"] = mine.settings.model.model_dump() | {"precision": "bfloat16"}
    found = foretold(mine)
    assert found.images.n_reused == Range.of(0)
    assert found.images.n_images.is_known
    assert found.n_to_embed == len(tars(mine))
    assert "image_embeddings" in found.time.unknown


def test_what_is_read_is_exact_and_an_image_is_counted_once(mine):
    path = tars(mine)[0]
    members, images = list(read_members(path).items()), images_of(path)
    twice = [(f"again/{i}.jpg", data) for i, data in enumerate(images)]
    new = [(f"new/{i}.jpg", data + b"\0") for i, data in enumerate(images[:3] * 2)]
    write_members(path.with_name("new.tar"), [*members, *twice, *new])
    told, n = Told(), 2 * len(images) + len(new)
    for index_is_lost in (False, True):
        found = foretold(mine, told, exact=True).images
        assert found.n_images == Range.of(n)
        assert found.n_encoded == Range.of(len({content_hash(data) for data in images[:3]}))
        assert found.n_reused == Range.of(n) + Range.of(-found.n_encoded.low)
        assert told.shares[-1] == 1.0
        if not index_is_lost:
            shutil.rmtree(mine.folder / "curated/index")
    assert not (mine.folder / "curated/index").exists()


class Told(Watch):
    def __init__(self):
        self.shares = []

    def advanced(self, progress):
        self.shares.append(progress.share)


def test_images_are_asked_for_in_blocks(mine, monkeypatch):
    monkeypatch.setattr("curator_assets.questions.forecast.counted_images._N_ASKED_AT_ONCE", 3)
    path = tars(mine)[0]
    path.rename(path.with_name("renamed.tar"))
    assert foretold(mine, exact=True).images.n_encoded == Range.of(0)


def test_other_weights_compare_another_share(mine):
    path = tars(mine)[0]
    shutil.copy(path, path.with_name("new.tar"))
    assert foretold(mine).search.share
    entry = mine.ledger.read(CENTROIDS.name)
    of_others = replace(entry, inputs={**entry.inputs, WEIGHTS: "other"})
    mine.ledger.write(CENTROIDS.name, None, of_others)
    assert foretold(mine).search.share is None


def test_no_number_of_images_is_told_where_no_tar_can_be_read(pipeline):
    write_members(
        pipeline.folder / "tars/bad.tar", [("a.jpg", b"x"), ("b.jpg", b"x"), ("a.txt", b"x")]
    )
    found = foretold(pipeline)
    assert found.images is None
    assert not found.n_bytes.tables_are_known
    assert "image_embeddings" not in found.time.unknown


def test_a_tar_that_can_not_be_read_is_named(mine):
    path = tars(mine)[0].with_name("bad.tar")
    write_members(path, [("a.jpg", b"x"), ("b.jpg", b"x"), ("a.txt", b"x")])
    assert set(foretold(mine, exact=True).images.unread) == {"a/bad"}


def test_nothing_changes(mine):
    path = tars(mine)[0]
    shutil.copy(path, path.with_name("new.tar"))
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in lying(mine)}
    foretold(mine)
    foretold(mine, exact=True)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in lying(mine)} == before


def lying(project: Pipeline) -> list[Path]:
    every = project.folder.rglob("*")
    return [path for path in every if path.is_file() and path.name != "curator.yaml"]


def amounts(project: Pipeline):
    intake, work = planned(project.instance, project.settings)
    plans = plan(GRAPH.stages, work)
    shards = to_embed(plans, work)
    found = expected_making(plans, work, embedded=shards, removed=intake.removed, n_images=100)
    return found, {shard: work.n_bytes[shard] for shard in work.shards}


def test_of_shards_to_which_nothing_comes_nothing_is_made_again(mine):
    path = tars(mine)[0]
    shutil.copy(path, path.with_name("new.tar"))
    found, sizes = amounts(mine)
    assert found[IMAGE_EMBEDDINGS] == Range.of(sizes["a/new"])
    assert found[DEDUPLICATED_SHARDS] == Range.of(sizes["a/new"])


def test_a_tar_that_goes_may_touch_others(mine):
    tars(mine)[0].unlink()
    found, sizes = amounts(mine)
    assert IMAGE_EMBEDDINGS not in found
    assert found[DUPLICATE_IDS].low == 0
    assert 0 < found[DUPLICATE_IDS].high <= sum(sizes.values())


def test_another_eps_may_touch_all(mine):
    mine.changes["duplicates"] = {"eps": 0.01}
    found, sizes = amounts(mine)
    assert IMAGE_EMBEDDINGS not in found
    assert found[DEDUPLICATED_SHARDS] == Range(0, sum(sizes.values()))
    assert foretold(mine).search is None
    assert foretold(mine).n_to_embed == 0


def test_bytes_hold_what_a_refresh_writes(mine):
    mine.changes["duplicates"] = {"recall_queries": 0}
    path = tars(mine)[0]
    new = path.with_name("new.tar")
    write_members(new, [(f"new/{n}", data) for n, data in read_members(path).items()])
    found = foretold(mine)
    assert found.n_bytes.read.low >= 2 * new.stat().st_size  # to embed and to curate
    assert found.search.share.high <= 1
    assert mine.refresh()
    written = [
        entry.files
        for stage in GRAPH.stages
        for entry in [mine.ledger.read(stage.name, "a/new"), mine.ledger.read(stage.name)]
        if entry
    ]
    n_bytes = sum(file.n_bytes for files in written for file in files.values())
    assert 0.5 * found.n_bytes.written.low < n_bytes < 1.5 * found.n_bytes.written.high
