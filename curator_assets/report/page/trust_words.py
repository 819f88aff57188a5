"""What was measured of the removals, as one sentence that anybody understands."""

from __future__ import annotations

from collections.abc import Iterator

from curator_assets.number_words import count, counted, percent, plural
from curator_assets.report.numbers.trust import RecallFound, Trust


def trust_sentence(trust: Trust, eps: float) -> str:
    """One sentence: kept copies, recall and marked pairs, each as measured, or that it was not.

    Args:
        trust: what was measured.
        eps: the chosen one.
    """
    return "; ".join(_parts(trust, eps)) + "."


def _parts(trust: Trust, eps: float) -> Iterator[str]:
    yield f"{trust.search.capitalize()} search: {_kept_copies(trust, eps)}"
    yield _recall(trust.recall)
    if trust.n_removed or trust.n_marked:
        yield _marks(trust)
    if trust.accounted:
        yield "every sample that was read has one verdict"


def _kept_copies(trust: Trust, eps: float) -> str:
    n = trust.n_removed
    if not n:
        return "no image was removed as a duplicate"
    lowest = "" if trust.lowest_cosine is None else f" (lowest cosine {trust.lowest_cosine:.4f})"
    if trust.n_without_kept:
        return (
            f"{count(trust.n_without_kept)} of {counted(n, 'removed image')} "
            f"{plural(trust.n_without_kept, 'has', 'have')} no kept one within eps {eps:g}{lowest}"
        )
    if left := trust.n_not_looked_at:
        have = plural(n - left, "has", "have")
        return (
            f"{count(n - left)} of {counted(n, 'removed image')} {have} a kept one within eps "
            f"{eps:g}{lowest}, and what stands for {count(left)} lies in shards that are left out"
        )
    which = "the one removed image" if n == 1 else f"each of the {count(n)} removed images"
    return f"{which} has a kept one within eps {eps:g}{lowest}"


def _recall(recall: RecallFound | None) -> str:
    if recall is None or not recall.n_queries:
        return "recall was not checked"
    asked = f"brute force on {counted(recall.n_queries, 'image')} found"
    if not recall.n_true:
        return f"{asked} no near-duplicate, so that recall is not known"
    pairs = f"{asked} {counted(recall.n_true, 'near-duplicate')} up to max_eps"
    if recall.n_found < recall.n_true:
        share = percent(recall.n_found / recall.n_true)
        return f"{pairs}, of which the search had {count(recall.n_found)} (recall {share})"
    all_of_them = "and the search had it" if recall.n_true == 1 else "and the search had all"
    return f"{pairs}, {all_of_them}"


def _marks(trust: Trust) -> str:
    if not trust.n_marked:
        return "no removed pair was marked by a person"
    share = percent(trust.n_marked_duplicate / trust.n_marked)
    sure = ""
    if trust.low == trust.high:
        sure = ", and all such pairs are marked"
    elif trust.low is not None and trust.high is not None:
        sure = f", at 95 % confidence between {percent(trust.low)} and {percent(trust.high)}"
    return (
        f"{count(trust.n_marked_duplicate)} of {counted(trust.n_marked, 'marked pair')} that eps "
        f"removes {plural(trust.n_marked_duplicate, 'is a duplicate', 'are duplicates')} "
        f"({share}{sure})"
    )
