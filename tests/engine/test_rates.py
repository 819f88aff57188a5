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
from curator_assets.engine.making import Recorded
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


def made(shard: str, read_seconds: float = 0.0, **state: int) -> Recorded:
    return Recorded(shard, Entry("", "", state=state), {"read_seconds": read_seconds}, {})


@pytest.fixture
def note(monkeypatch):
    """Notes that some partitions of a stage were made within so many seconds."""
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)

    def note(stage: Stage, found: list[Recorded], seconds: float, work: Work) -> None:
        taken = rates.Taken(stage, work)
        for one in found:
            taken.add(one)
        clock.now += seconds
        taken.note()

    return note


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def stored(pipeline) -> dict[str, bytes]:
    names = pipeline.store.names("ledger/rates")
    return {name: pipeline.store.read(name) for name in names}


def test_an_observation_counts_what_was_made(work, note):
    found = [
        made("a", 0.5, n_encoded=3, n_reused=1),
        made("c", 1.0, n_encoded=0, n_reused=9),
    ]
    note(IMAGE_EMBEDDINGS, found, 7.5, work)
    (one,) = rates.observed(IMAGE_EMBEDDINGS, replace(work))
    assert (one.n_partitions, one.n_bytes, one.n_encoded, one.n_reused) == (2, 40, 3, 10)
    assert (one.seconds, one.read_seconds) == (7.5, 1.5)
    assert not rates.observed(FILTER_SCORES, work)


def test_a_stage_over_all_shards_is_observed_over_all_tars(work, note):
    note(CENTROIDS, [made("")], 2.0, work)
    (one,) = rates.observed(CENTROIDS, work)
    assert (one.n_partitions, one.n_bytes) == (1, 60)


def test_where_nothing_is_made_nothing_is_observed(work, note):
    note(FILTER_SCORES, [], 2.0, work)
    assert not work.store.names("ledger/rates")


def test_the_last_few_are_kept_the_latest_last(work, note):
    for i in range(rates.N_KEPT + 3):
        note(FILTER_SCORES, [made("a")], float(i), work)
    found = [one.seconds for one in rates.observed(FILTER_SCORES, work)]
    assert found == [float(i) for i in range(3, rates.N_KEPT + 3)]


def test_another_kind_of_device_has_rates_of_its_own(work, note, monkeypatch):
    note(FILTER_SCORES, [made("a")], 1.0, work)
    monkeypatch.setattr("curator_assets.engine.encoder.Encoder.device_type", lambda _: "cuda")
    assert not rates.observed(FILTER_SCORES, work)


def test_what_another_version_observed_is_as_good_as_nothing(work, note):
    note(FILTER_SCORES, [made("a")], 1.0, work)
    (name,) = (entry for entry in work.store.names("ledger/rates") if "filter" in entry)
    partition = name.removeprefix("ledger/rates/").removesuffix(".json")
    state = {"observations": [{"seconds": 3.0}, "?"]}
    Ledger(work.store).write(rates.RECORD, partition, Entry("", "", state=state))
    assert rates.observed(FILTER_SCORES, replace(work)) == []


def test_storage_that_fails_holds_nothing_up(work, note, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Ledger, "write", full)
    note(FILTER_SCORES, [made("a")], 1.0, work)
    assert "what filter_scores took can't be kept" in caplog.text


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
    assert [one.n_partitions for one in observations] == [2, 1]
    assert all(one.seconds > 0 and one.n_bytes for one in observations)


def test_a_machine_is_told_by_its_processor_and_its_gpus(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n")
    monkeypatch.setattr(rates, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(rates, "_NVIDIA", tmp_path / "gpus")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert rates.machine("cpu") == "cpu, Some CPU @ 3 GHz, 1 core"
    for i in range(2):
        (tmp_path / f"gpus/{i}").mkdir(parents=True)
        (tmp_path / f"gpus/{i}/information").write_text("Model: \t\t Some GPU\nIRQ: 1\n")
    assert rates.machine("cuda") == "cuda, Some GPU, 2 GPUs, Some CPU @ 3 GHz, 1 core"
    assert rates.machine("cpu") == "cpu, Some CPU @ 3 GHz, 1 core"
