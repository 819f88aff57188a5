from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest

from curator_assets.report.numbers.trust import RecallFound
from curator_assets.report.page.notes import notes
from curator_assets.settings import Settings


@pytest.fixture
def report(trust):
    """A report with which all is well: what it is made from, its numbers and its pictures."""
    verdicts = {"unreadable": 4, "filtered": 0, "duplicate": 34, "kept": 62}
    steps = [("read", 100), *verdicts.items()]
    return SimpleNamespace(
        given=SimpleNamespace(
            settings=Settings(source="tars", output="curated"), behind=[], not_taken={}
        ),
        numbers=SimpleNamespace(
            trust=trust,
            recommendation=SimpleNamespace(left_out=[]),
            summary={"n_samples": 100, "n_kept": 62, "n_unreadable": 4},
            tables={"funnel": pl.DataFrame(steps, ["verdict", "n_images"], orient="row")},
            duplicates=SimpleNamespace(
                curve=pl.DataFrame({"eps": [0.0, 0.03], "n_removed": [6, 34]}),
                shard_pairs=SimpleNamespace(n_duplicates=34),
                n_filled_in_place=0,
            ),
        ),
        pictures=SimpleNamespace(n_missing=0, n_wanted=9),
    )


def told(report) -> list[str]:
    return [note.text for note in notes(report.given, report.numbers, report.pictures)]


def test_where_all_is_well_there_are_none(report):
    assert told(report) == []
    report.numbers.trust = replace(report.numbers.trust, recall=None, n_marked=0)
    assert told(report) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accounted": False}, "The verdicts do not add up to the samples read."),
        ({"n_without_kept": 1}, "1 removed image has no kept image within eps 0.03."),
        ({"n_without_kept": 2}, "2 removed images have no kept image within eps 0.03."),
        ({"recall": RecallFound(9, 310, 309)}, "missed 1 of 310 pairs that brute force found."),
    ],
)
def test_what_was_measured_and_is_not_as_it_should_be(report, changes, words):
    report.numbers.trust = replace(report.numbers.trust, **changes)
    (text,) = told(report)
    assert words in text


def test_a_fast_search_may_miss_some(report):
    recall = RecallFound(9, 310, 309)
    report.numbers.trust = replace(report.numbers.trust, search="fast", recall=recall)
    assert told(report) == []


def test_counts_that_differ(report):
    report.numbers.duplicates.shard_pairs.n_duplicates = 33
    assert told(report) == [
        "The counts of duplicates differ: 34 by the eps curve, 33 in the groups, 34 in the shards."
    ]


def test_counts_differ_where_shards_are_left_out_and_only_that_is_told(report):
    report.given.behind = ["s"]
    funnel = report.numbers.tables["funnel"]
    fewer = pl.when(pl.col("verdict") == "duplicate").then(30).otherwise(pl.col("n_images"))
    tables = dict(report.numbers.tables) | {"funnel": funnel.with_columns(n_images=fewer)}
    report.numbers.tables = tables
    assert [text[:25] for text in told(report)] == ["1 shard is left out, since"[:25]]
    report.given.behind = []
    assert "30 in the shards" in told(report)[0]


@pytest.mark.parametrize("n", [1, 2])
def test_each_thing_is_told_in_the_number_it_has(report, n):
    report.given.behind = [f"s{i}" for i in range(n)]
    report.given.not_taken = dict.fromkeys(range(n))
    report.numbers.summary |= {"n_unreadable": n, "n_samples": 10}
    report.numbers.recommendation.left_out = [None] * n
    report.numbers.duplicates.n_filled_in_place = report.pictures.n_missing = n
    expected = {
        1: [
            "1 shard is left out, since its verdicts are older than its embeddings: s0.",
            "1 sample of 10 can't be read (10.00 %).",
            "1 file of the source is not taken, or gone from it.",
            "1 marked pair does not count, and is left out.",
            "report/pairs_to_mark.csv holds 1 verdict and was left as it is.",
            "1 of the 9 images shown is absent: its tar is gone or was replaced, or it can't",
        ],
        2: [
            "2 shards are left out, since their verdicts are older than their embeddings: s0, s1.",
            "2 samples of 10 can't be read (20.00 %).",
            "2 files of the source are not taken, or gone from it.",
            "2 marked pairs do not count, and are left out.",
            "report/pairs_to_mark.csv holds 2 verdicts and was left as it is.",
            "2 of the 9 images shown are absent: their tar is gone or was replaced, or they can't",
        ],
    }
    assert [
        text[: len(words)] for text, words in zip(told(report), expected[n], strict=True)
    ] == expected[n]


def test_of_many_shards_that_are_left_out_the_first_are_named(report):
    report.given.behind = [f"s{i}" for i in range(7)]
    assert "embeddings: s0, s1, s2, s3, s4, …." in told(report)[0]
