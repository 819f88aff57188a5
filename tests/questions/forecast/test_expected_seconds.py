"""The time is foretold by the line through what was observed."""

import logging
from dataclasses import replace

import pytest

from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.output.curation_report import CURATION_REPORT
from curator_assets.engine.rates import Observation, encoder_words
from curator_assets.engine.work import Work
from curator_assets.questions.forecast import expected_seconds as module
from curator_assets.questions.forecast.expected_images import ExpectedImages
from curator_assets.questions.forecast.expected_seconds import expected_seconds
from curator_assets.questions.forecast.ranges import Range
from curator_assets.settings import Settings


@pytest.fixture
def work(tmp_path) -> Work:
    settings = Settings(source=str(tmp_path), output=str(tmp_path / "out"))
    return Work(settings, (), logging.getLogger())


@pytest.fixture
def observed(monkeypatch, work):
    """Sets what was observed of the stages."""
    found = {}
    monkeypatch.setattr(module, "observed", lambda stage, _: found.get(stage, []))

    def observed(stage, *rows: dict) -> None:
        plain = Observation(encoder_words(work.settings), 0, 0, 0, 1.0, 0.0)
        found[stage] = [replace(plain, **row) for row in rows]

    return observed


def images(n_encoded: int, n_reused: int = 0) -> ExpectedImages:
    n = n_encoded + n_reused
    return ExpectedImages(Range.of(n), Range.of(n_encoded), Range.of(n_reused), n * 100, {})


def embedding(work, n_encoded: int, n_reused: int = 0) -> Range | None:
    amounts = {IMAGE_EMBEDDINGS: Range.of(100 * (n_encoded + n_reused))}
    return expected_seconds(amounts, images(n_encoded, n_reused), work).seconds


def test_a_start_and_a_pace_are_told_apart(work, observed):
    observed(
        CLUSTER_ASSIGNMENTS, *({"n_bytes": n, "seconds": 5 + n / 100} for n in (100, 900, 300))
    )
    for n_bytes in (200, 10_000):
        found = expected_seconds({CLUSTER_ASSIGNMENTS: Range.of(n_bytes)}, None, work).seconds
        seconds = 5 + n_bytes / 100
        assert found == Range(pytest.approx(0.8 * seconds), pytest.approx(1.25 * seconds))


def test_observations_that_disagree_widen_the_range(work, observed):
    amounts = {CLUSTER_ASSIGNMENTS: Range.of(200)}
    observed(CLUSTER_ASSIGNMENTS, {"n_bytes": 100, "seconds": 5}, {"n_bytes": 100, "seconds": 20})
    found = expected_seconds(amounts, None, work).seconds
    assert found.low <= 10 and found.high >= 40


def test_more_work_never_takes_less_time(work, observed):
    observed(CLUSTER_ASSIGNMENTS, {"n_bytes": 100, "seconds": 9}, {"n_bytes": 900, "seconds": 8})
    found = [
        expected_seconds({CLUSTER_ASSIGNMENTS: Range.of(n)}, None, work).seconds
        for n in (1, 1000, 1_000_000)
    ]
    assert found[0].low > 0
    assert found[0].high <= found[1].high <= found[2].high


def test_pairs_grow_with_the_square(work, observed):
    observed(NEAR_DUPLICATE_PAIRS, {"n_bytes": 100, "seconds": 1})
    found = expected_seconds({NEAR_DUPLICATE_PAIRS: Range.of(1000)}, None, work).seconds
    assert found.low < 100 < found.high


def test_joins_and_full_searches_tell_one_pace(work, observed):
    rows = [{"n_bytes": 1000, "share": share, "seconds": 1000 * share} for share in (1, 0.02)]
    observed(NEAR_DUPLICATE_PAIRS, *rows)
    amounts = {NEAR_DUPLICATE_PAIRS: Range.of(1000)}
    full = expected_seconds(amounts, None, work).seconds
    drop = expected_seconds(amounts, None, work, compared=Range.of(0.02)).seconds
    assert full.expected == pytest.approx(1000)
    assert drop.expected == pytest.approx(20)


def test_a_refresh_that_copied_all_spoils_no_pace_of_encoding(work, observed):
    encoded = {"n_bytes": 10_000, "n_encoded": 100, "seconds": 50}
    observed(IMAGE_EMBEDDINGS, encoded)
    before = embedding(work, 200)
    assert before.low < 100 < before.high
    observed(IMAGE_EMBEDDINGS, encoded, {"n_bytes": 10_000, "n_reused": 100, "seconds": 0.5})
    assert embedding(work, 200) == before
    copied = embedding(work, 0, 200)
    assert copied.low < 1 < copied.high
    assert copied.high < before.low


def test_refreshes_that_copied_most_spoil_no_pace_of_encoding(work, observed):
    encoded = {"n_bytes": 1_200_000, "n_encoded": 12_000, "seconds": 600}
    mostly_copied = {"n_bytes": 1_200_000, "n_encoded": 50, "n_reused": 11_950, "seconds": 60}
    observed(IMAGE_EMBEDDINGS, encoded, *[mostly_copied] * 3)
    found = embedding(work, 500)
    assert 15 <= found.low < 25 < found.high <= 40
    copied = embedding(work, 50, 11_950)
    assert copied.low < 60 < copied.high
    observed(IMAGE_EMBEDDINGS, mostly_copied)
    assert embedding(work, 500) is None


def test_what_is_copied_has_no_rate_before_something_was(work, observed):
    observed(IMAGE_EMBEDDINGS, {"n_bytes": 10_000, "n_encoded": 100, "seconds": 50})
    assert embedding(work, 0, 200) is None
    likely = ExpectedImages(Range.of(200), Range(0, 200, 0), Range(0, 200, 200), 20_000, {})
    amounts = {IMAGE_EMBEDDINGS: Range.of(20_000)}
    assert expected_seconds(amounts, likely, work).unknown == ("image_embeddings",)


def test_what_is_likely_is_told_between_the_bounds(work, observed):
    encoded = {"n_bytes": 10_000, "n_encoded": 100, "seconds": 50}
    observed(IMAGE_EMBEDDINGS, encoded, {"n_bytes": 10_000, "n_reused": 100, "seconds": 0.5})
    likely = ExpectedImages(Range.of(200), Range(0, 200, 0), Range(0, 200, 200), 20_000, {})
    found = expected_seconds({IMAGE_EMBEDDINGS: Range.of(20_000)}, likely, work).seconds
    assert found.low < found.expected < 2
    assert found.high > 100


def test_images_whose_number_is_not_known_have_no_time_and_lack_no_rate(work, observed):
    observed(IMAGE_EMBEDDINGS, {"n_bytes": 10_000, "n_encoded": 100, "seconds": 50})
    found = expected_seconds({IMAGE_EMBEDDINGS: Range.of(10_000)}, None, work)
    assert (found.seconds, found.unknown) == (None, ())


def test_another_model_has_no_rate_and_is_named(work, observed):
    observed(IMAGE_EMBEDDINGS, {"encoder": "other", "n_bytes": 1, "n_encoded": 1, "seconds": 1})
    observed(CURATION_REPORT, {"n_bytes": 1000, "seconds": 1})
    amounts = {IMAGE_EMBEDDINGS: Range.of(1000), CURATION_REPORT: Range.of(1000)}
    found = expected_seconds(amounts, images(10), work)
    assert found.unknown == ("image_embeddings",)
    assert found.seconds.low < 1 < found.seconds.high


def test_without_any_rate_there_is_no_time(work, observed):
    found = expected_seconds({CURATION_REPORT: Range.of(1000)}, images(10), work)
    assert found.seconds is None
    assert found.unknown == ("curation_report",)


def test_what_may_not_be_made_at_all_may_take_no_time(work, observed):
    observed(CURATION_REPORT, {"n_bytes": 1000, "seconds": 1})
    assert expected_seconds({CURATION_REPORT: Range(0, 1000)}, None, work).seconds.low == 0
    nothing = expected_seconds({CURATION_REPORT: Range(0, 0)}, None, work)
    assert (nothing.seconds, nothing.unknown) == (None, ())


def test_more_cells_may_take_longer_to_assign_and_less_to_search(work, observed):
    stages = (CLUSTER_ASSIGNMENTS, NEAR_DUPLICATE_PAIRS, CURATION_REPORT)
    for stage in stages:
        observed(stage, {"n_bytes": 100, "seconds": 6})

    def seconds(stage, cells_grow: float) -> Range:
        amounts = {stage: Range.of(100)}
        return expected_seconds(amounts, None, work, cells_grow=cells_grow).seconds

    same, more = ([seconds(stage, by) for stage in stages] for by in (1.0, 3.0))
    assert [found.low for found in more] == pytest.approx(
        [same[0].low, same[1].low / 3, same[2].low]
    )
    assert [found.high for found in more] == pytest.approx(
        [same[0].high * 3, same[1].high, same[2].high]
    )
