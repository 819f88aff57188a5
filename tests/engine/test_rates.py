"""What stages took is kept for a plan, and never in the way of a refresh."""

import logging
from dataclasses import replace

import pytest
from tar_files import write_members

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.filter.filter_scores import FILTER_SCORES
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine import rates
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.settings import ModelSettings, Settings
from curator_assets.storage.ledger import Entry, Ledger


@pytest.fixture
def work(tmp_path) -> Work:
    settings = Settings(
        source=str(tmp_path / "tars"),
        output=str(tmp_path / "out"),
        model=ModelSettings(device="cpu"),
    )
    return Work(settings, ("a", "b", "c"), logging.getLogger(), n_bytes={"a": 10, "b": 20, "c": 30})


def made(work: Work, stage: Stage, partition: str, **state: int) -> None:
    work.ledger.write(stage.name, partition or None, Entry("", "", state=state))


def stored(pipeline) -> dict[str, bytes]:
    names = pipeline.store.names("ledger/rates")
    return {name: pipeline.store.read(name) for name in names}


def test_an_observation_counts_what_was_made(work):
    made(work, IMAGE_EMBEDDINGS, "a", n_encoded=3, n_reused=1)
    made(work, IMAGE_EMBEDDINGS, "b", n_encoded=5, n_reused=5)
    made(work, IMAGE_EMBEDDINGS, "c", n_encoded=0, n_reused=9)
    rates.note(IMAGE_EMBEDDINGS, work, {"a", "c"}, 7.5)
    (one,) = rates.observed(IMAGE_EMBEDDINGS, replace(work))
    assert (one.n_bytes, one.n_encoded, one.n_reused, one.seconds) == (40, 3, 10, 7.5)
    assert not rates.observed(FILTER_SCORES, work)


def test_a_stage_over_all_shards_is_observed_over_all_tars(work):
    made(work, CENTROIDS, "")
    rates.note(CENTROIDS, work, {""}, 2.0)
    (one,) = rates.observed(CENTROIDS, work)
    assert one.n_bytes == 60


def test_the_last_few_are_kept_the_latest_last(work):
    for i in range(rates.N_KEPT + 3):
        rates.note(FILTER_SCORES, work, {"a"}, float(i))
    found = [one.seconds for one in rates.observed(FILTER_SCORES, work)]
    assert found == [float(i) for i in range(3, rates.N_KEPT + 3)]


def test_what_tells_something_else_displaces_nothing(work):
    bfloat16 = work.settings.model.model_copy(update={"precision": "bfloat16"})
    other = replace(work, settings=work.settings.model_copy(update={"model": bfloat16}))
    made(work, IMAGE_EMBEDDINGS, "a", n_encoded=100, n_reused=0)
    rates.note(IMAGE_EMBEDDINGS, work, {"a"}, 1.0)
    rates.note(IMAGE_EMBEDDINGS, other, {"a"}, 2.0)
    work = replace(work)  # which read nothing before
    made(work, IMAGE_EMBEDDINGS, "a", n_encoded=1, n_reused=99)
    for _ in range(rates.N_KEPT + 3):
        rates.note(IMAGE_EMBEDDINGS, work, {"a"}, 3.0)
    found = [one.seconds for one in rates.observed(IMAGE_EMBEDDINGS, work)]
    assert found == [1.0, 2.0, *[3.0] * rates.N_KEPT]


def test_another_kind_of_device_has_rates_of_its_own(work, monkeypatch):
    rates.note(FILTER_SCORES, work, {"a"}, 1.0)
    monkeypatch.setattr("curator_assets.engine.encoder.Encoder.device_type", lambda _: "cuda")
    assert not rates.observed(FILTER_SCORES, work)


def test_what_another_version_observed_is_as_good_as_nothing(work):
    rates.note(FILTER_SCORES, work, {"a"}, 1.0)
    (name,) = (entry for entry in work.store.names("ledger/rates") if "filter" in entry)
    partition = name.removeprefix("ledger/rates/").removesuffix(".json")
    state = {"observations": [{"seconds": 3.0}, "?"]}
    Ledger(work.store).write(rates.RECORD, partition, Entry("", "", state=state))
    assert rates.observed(FILTER_SCORES, replace(work)) == []


@pytest.mark.parametrize("call", ["read", "write"])
def test_storage_that_fails_holds_nothing_up_and_tells_no_secret(work, monkeypatch, caplog, call):
    def fails(*_, **__):
        raise OSError("s3://key:secret@bucket/ledger can't be listed")

    monkeypatch.setattr(Ledger, call, fails)
    rates.note(FILTER_SCORES, work, {"a"}, 1.0)
    assert "what filter_scores took can't be kept" in caplog.text
    assert "secret" not in caplog.text


def test_a_refresh_notes_what_it_made_and_only_that(pipeline):
    photos = [_jpeg(crop.image) for crop in crops()[:120:40]]
    for name, image in zip("ab", photos, strict=False):
        write_members(pipeline.folder / f"tars/{name}.tar", [(f"{name}.jpg", image)])
    assert pipeline.refresh()
    kept = stored(pipeline)
    assert any("image_embeddings" in name for name in kept)
    assert pipeline.refresh()  # nothing is made
    assert stored(pipeline) == kept
    write_members(pipeline.folder / "tars/c.tar", [("c.jpg", photos[2])])
    assert pipeline.refresh()
    observations = rates.observed(IMAGE_EMBEDDINGS, pipeline.work())
    assert [one.n_encoded for one in observations] == [2, 1]
    assert all(one.seconds > 0 and one.n_bytes for one in observations)


def test_a_pass_with_a_failure_is_no_observation(pipeline):
    write_members(pipeline.folder / "tars/a.tar", [("a.jpg", _jpeg(crops()[0].image))])
    repeated = [("a.jpg", b"x"), ("b.jpg", b"x"), ("a.txt", b"x")]
    write_members(pipeline.folder / "tars/b.tar", repeated)
    assert not pipeline.refresh()
    assert pipeline.ledger.read(IMAGE_EMBEDDINGS.name, "a")
    assert not rates.observed(IMAGE_EMBEDDINGS, pipeline.work())
