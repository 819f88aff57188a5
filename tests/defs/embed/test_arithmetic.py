"""The arithmetic is chosen once; from then on the record decides."""

from pathlib import Path

import pytest
import torch
from pipeline import Pipeline
from tar_files import write_members

from curator_assets.defs.embed.arithmetic import (
    RECORD,
    Arithmetic,
    chosen_arithmetic,
    known_arithmetic,
)
from curator_assets.defs.embed.embedding_weights import weights_in_force
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.workers import supervision
from curator_assets.kernels import precision
from curator_assets.kernels.encode import EncoderModel, UnsupportedFormError
from curator_assets.storage.ledger import Entry


@pytest.fixture
def project(pipeline: Pipeline, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(supervision, "runs_here", lambda _: True)
    photos = [(f"{i}.jpg", _jpeg(crop.image)) for i, crop in enumerate(crops()[:3])]
    write_members(pipeline.folder / "tars/a.tar", photos)
    let_win(monkeypatch, "onednn")
    weights = str(tiny / "tiny.safetensors")
    model = {"name": "tiny", "pretrained": weights, "batch_size": 4, "precision": "float32"}
    pipeline.changes = {"model": model}
    return pipeline


def choose_the_precision_too(project: Pipeline) -> None:
    project.changes = {"model": project.changes["model"] | {"precision": "auto"}}


def let_win(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    def told(model: EncoderModel, _: torch.Tensor) -> float:
        return 1.0 if model.form == form else 2.0

    monkeypatch.setattr(precision, "_core_ms", told)


def chosen(project: Pipeline) -> Arithmetic:
    work = project.work()
    return chosen_arithmetic(work, weights_in_force(work), work.shards)


def test_the_record_decides_and_not_the_clock(project, monkeypatch):
    first = chosen(project)
    assert str(first) == "cpu float32 onednn"
    assert first.core_ms == {"float32": 2.0, "float32 onednn": 1.0}
    assert min(first.lowest_cosine.values()) >= 0.9999
    let_win(monkeypatch, "plain")
    assert chosen(project) == first
    project.ledger.remove(RECORD, "cpu float32")
    assert str(chosen(project)) == "cpu float32"


def test_each_precision_has_a_choice_of_its_own(project):
    chosen(project)
    choose_the_precision_too(project)
    work = project.work()
    assert known_arithmetic(work, weights_in_force(work)) is None


def test_a_record_from_before_there_were_forms_holds(project):
    choose_the_precision_too(project)
    chosen(project)
    entry = project.ledger.read(RECORD, "cpu")
    state = {"lowest_cosine": {"bfloat16": 0.9975}, "n_images": 3}
    old = Entry(entry.fingerprint, "float32", inputs=entry.inputs, state=state)
    project.ledger.write(RECORD, "cpu", old)
    assert str(chosen(project)) == "cpu float32"


def test_a_machine_that_cannot_run_what_was_chosen_says_so(project, monkeypatch):
    arithmetic = chosen(project)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    work = project.work()
    assert chosen_arithmetic(work, weights_in_force(work), work.shards) == arithmetic
    with pytest.raises(UnsupportedFormError, match="float32 by onednn"):
        work.encoder.load(arithmetic.precision, arithmetic.form)
