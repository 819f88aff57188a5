"""What a reader must know before trusting the numbers, the most alarming first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from curator_assets.number_words import count, counted, percent, plural
from curator_assets.report.numbers.funnel import totals
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.report_numbers import ReportNumbers
from curator_assets.report.pictures.report_pictures import ReportPictures
from curator_assets.storage import layout

MANY_UNREADABLE = 0.05
"""Share of the samples from which on it is alarming that they can't be read."""

_N_NAMED = 5


@dataclass(frozen=True)
class Note:
    """One thing that is not as it should be.

    Attributes:
        text: a sentence or two.
        section: where on the page more stands; None if nowhere.
        command: what tells more; None if nothing does.
    """

    text: str
    section: str | None = None
    command: str | None = None


def notes(given: Given, numbers: ReportNumbers, pictures: ReportPictures) -> list[Note]:
    """What is not as it should be; empty if all is."""
    return [
        *_of_verdicts(given, numbers),
        *_of_samples(given, numbers),
        *_of_marks(numbers),
        *_of_pictures(pictures),
    ]


def _of_verdicts(given: Given, numbers: ReportNumbers) -> Iterator[Note]:
    trust, chosen = numbers.trust, given.settings.duplicates
    if not trust.accounted:
        yield Note("The verdicts do not add up to the samples read.", "removed", "curate verify")
    if n := trust.n_without_kept:
        why = ""
        if trust.rule == "semdedup":
            why = " The rule semdedup does not promise one."
        yield Note(
            f"{counted(n, 'removed image')} {plural(n, 'has', 'have')} no kept image within eps "
            f"{chosen.eps:g}.{why}",
            "duplicates",
            "curate verify",
        )
    recall = trust.recall
    if trust.search == "exact" and recall and recall.n_found < recall.n_true:
        yield Note(
            f"The search calls itself exact, and missed {count(recall.n_true - recall.n_found)} of "
            f"{counted(recall.n_true, 'pair')} that brute force found.",
            "duplicates",
            "curate verify",
        )
    duplicates = numbers.duplicates
    at_eps = int(duplicates.curve.filter(pl.col("eps") == chosen.eps)["n_removed"].sum())
    n_counted = totals(numbers.tables["funnel"])["n_duplicates"]
    n_stored = duplicates.shard_pairs.n_duplicates
    if at_eps != n_stored or (n_counted != n_stored and not given.behind):  # their verdicts lack
        yield Note(
            f"The counts of duplicates differ: {count(at_eps)} by the eps curve, "
            f"{count(n_stored)} in the groups, {count(n_counted)} in the shards.",
            "eps",
            "curate verify",
        )


def _of_samples(given: Given, numbers: ReportNumbers) -> Iterator[Note]:
    if n := len(given.behind):
        names = ", ".join(given.behind[:_N_NAMED]) + ", …" * (n > _N_NAMED)
        yield Note(
            f"{counted(n, 'shard')} {plural(n, 'is', 'are')} left out, since "
            f"{plural(n, 'its verdicts are older than its', 'their verdicts are older than their')}"
            f" embeddings: {names}. Refresh, then look again.",
            command="curate plan",
        )
    s = numbers.summary
    if s["n_samples"] and not s["n_kept"]:
        yield Note("Nothing is kept.", "removed")
    share = s["n_unreadable"] / max(s["n_samples"], 1)
    if share >= MANY_UNREADABLE:
        yield Note(
            f"{counted(s['n_unreadable'], 'sample')} of {count(s['n_samples'])} can't be read "
            f"({percent(share)}).",
            "removed",
        )
    if n := len(given.not_taken):
        yield Note(
            f"{counted(n, 'file')} of the source {plural(n, 'is', 'are')} not taken, or gone "
            "from it.",
            "not-taken",
            "curate plan",
        )


def _of_marks(numbers: ReportNumbers) -> Iterator[Note]:
    if n := len(numbers.recommendation.left_out):
        yield Note(
            f"{counted(n, 'marked pair')} {plural(n, 'does', 'do')} not count, and "
            f"{plural(n, 'is', 'are')} left out.",
            "verdicts",
        )
    if n := numbers.duplicates.n_filled_in_place:
        yield Note(
            f"{layout.PAIRS_TO_MARK} holds {counted(n, 'verdict')} and was left as it is. Save it "
            f"as {layout.VERDICTS_PREFIX}.csv, or under another name that begins so, to count "
            f"{plural(n, 'it', 'them')}.",
            "verdicts",
        )


def _of_pictures(pictures: ReportPictures) -> Iterator[Note]:
    if n := pictures.n_missing:
        yield Note(
            f"{count(n)} of the {counted(pictures.n_wanted, 'image')} shown "
            f"{plural(n, 'is', 'are')} absent: {plural(n, 'its', 'their')} tar is gone or was "
            f"replaced, or {plural(n, 'it', 'they')} can't be drawn. The numbers do not depend on "
            f"{plural(n, 'it', 'them')}.",
            command="curate plan",
        )
