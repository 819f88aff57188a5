import logging
import urllib.request
from dataclasses import replace

import pytest

from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.filter.filter_scores import FILTER_SCORES
from curator_assets.engine.partitioning import UndecidedError
from curator_assets.engine.work import Purpose, Work
from curator_assets.models.head_files import kept_head
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry


@pytest.fixture
def work(tmp_path, monkeypatch) -> Work:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlretrieve", lambda *_: pytest.fail("fetched"))
    settings = Settings.model_validate(
        {
            "source": str(tmp_path / "tars"),
            "output": str(tmp_path / "curated"),
            "heads": {"aesthetic": {"weights": "fetch"}, "nsfw": {"weights": "fetch"}},
        }
    )
    work = Work(settings, ("a",), logging.getLogger(__name__), Purpose.PLAN)
    work.ledger.write(IMAGE_EMBEDDINGS.name, "a", Entry("made", "version"))
    return work


def test_what_scores_are_made_from_is_known_without_fetching(work):
    inputs = FILTER_SCORES.inputs(work, "a")
    assert inputs is not None
    assert inputs[IMAGE_EMBEDDINGS.name] == "version"


def test_a_head_that_only_fetching_can_tell_is_left_open(work):
    model = work.settings.model.model_copy(update={"name": "ViT-B-32"})
    work = replace(work, settings=work.settings.model_copy(update={"model": model}))
    with pytest.raises(UndecidedError, match="weights not here yet"):
        FILTER_SCORES.inputs(work, "a")
    kept = kept_head("nsfw_vit_b_32")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"head")
    assert FILTER_SCORES.inputs(work, "a")
