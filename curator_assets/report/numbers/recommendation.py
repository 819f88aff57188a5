"""The eps that is recommended, by people's verdicts or by altered copies, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curator_assets.number_words import counted
from curator_assets.report.numbers.calibrated_eps import calibrated_eps
from curator_assets.report.numbers.cosine_bands import Band
from curator_assets.report.numbers.cosine_grid import CosineGrid
from curator_assets.report.numbers.marked_pairs import LeftOutMark
from curator_assets.report.numbers.marked_precision import (
    Evidence,
    MarkedPrecision,
    marked_precision,
)
from curator_assets.report.numbers.marks_needed import marks_needed
from curator_assets.report.numbers.recommendation_words import cosine_range, percent
from curator_assets.report.numbers.score_interval import is_refuted


@dataclass(frozen=True)
class Recommendation:
    """Which eps to choose.

    Attributes:
        eps: the recommended one; None if nothing is known to recommend one by.
        low: the largest eps that is sure at 95 %; by copies, one that still finds most of them.
        high: the largest eps that the evidence does not refute.
        evidence: what it rests on.
        why: that, in a sentence or two.
        n_more: marks that would narrow the interval; None if none would.
        where: of which cosines.
        n_removed: images that the recommended eps removes; None if that was not resolved.
        left_out: marked pairs that do not count.
    """

    eps: float | None
    low: float | None
    high: float | None
    evidence: Literal["verdicts", "calibration", "none"]
    why: str
    n_more: int | None
    where: str | None
    left_out: Sequence[LeftOutMark]
    n_removed: int | None = None


def recommendation(
    bands: list[Band],
    grid: CosineGrid,
    evidence: Evidence,
    *,
    wished: float,
    copies: Mapping[str, np.ndarray] | None,
    why_no_copies: str | None,
    left_out: Sequence[LeftOutMark],
) -> Recommendation:
    """The eps by the verdicts, or by altered copies where verdicts are too few and leave it open.

    It is never 0 unless even pairs of cosine 1 are refuted.

    Args:
        bands: of the settings.
        grid: of the same.
        evidence: pairs and marks.
        wished: share of the removed that shall be duplicates.
        copies: transform -> float32 cosines of `eps_calibration`; None if there are none in force.
        why_no_copies: in words.
        left_out: marked pairs that do not count.
    """
    found = marked_precision(grid, bands, evidence, wished)
    n, right = evidence.n_identical, evidence.n_identical_right
    if is_refuted(np.array(right), np.array(n), wished):
        why = (
            f"Even of {counted(n, 'marked pair')} of cosine 1 only {right:,} count as duplicates: "
            "the model can't tell these images apart."
        )
        return Recommendation(0.0, 0.0, 0.0, "verdicts", why, None, None, left_out)
    largest, last_open = found.largest(found.is_precise), found.largest(found.is_open)
    adds = largest is not None and bool(found.n[:, largest].any())
    if largest is not None and evidence.n_marked.any() and (adds or largest == last_open):
        return _by_verdicts(found, largest, wished, left_out)
    return _by_copies(found, grid, evidence, wished, copies, why_no_copies, left_out)


def _by_verdicts(
    found: MarkedPrecision, largest: int, wished: float, left_out: Sequence[LeftOutMark]
) -> Recommendation:
    sure, last_open = found.largest(found.is_sure), found.largest(found.is_open)
    assert last_open is not None  # what can be recommended is open
    place = found.reached(largest)
    target = last_open if sure == largest else largest
    more, where = _narrowing(found, target, wished)
    return Recommendation(
        eps=float(found.eps[place]),
        low=0.0 if sure is None else float(found.eps[min(sure, place)]),
        high=float(found.eps[last_open]),
        evidence="verdicts",
        why=_why(found, place, largest, wished),
        n_more=more,
        where=where,
        left_out=left_out,
    )


def _why(found: MarkedPrecision, place: int, largest: int, wished: float) -> str:
    n_pairs, n, n_left, right = (
        int(counts[:, place].sum())
        for counts in (found.n, found.n_marked, found.n_left, found.n_right)
    )
    eps = f"eps {found.eps[place]:g}"
    if not n_pairs:
        return (
            f"The nearest pairs that are not identical are marked different, or nearly all: {eps} "
            "ends before them."
        )
    known = f"{n:,} are marked" if n_left else "all are marked"
    share = "" if not n_left else " when bands are weighed by their pairs"
    chance = ", which one wrong pair can't refute" if found.share[place] < wished else ""
    beyond = f" No pair lies from there to eps {found.eps[largest]:g}." if largest > place else ""
    return (
        f"Of the {counted(n_pairs, 'pair')} up to {eps} that are not identical {known}, {right:,} "
        f"as duplicate: {percent(float(found.share[place]))}{share}. "
        f"The target is {percent(wished)}{chance}.{beyond}"
    )


def _by_copies(
    found: MarkedPrecision,
    grid: CosineGrid,
    evidence: Evidence,
    wished: float,
    copies: Mapping[str, np.ndarray] | None,
    why_no_copies: str | None,
    left_out: Sequence[LeftOutMark],
) -> Recommendation:
    last_open, n_marked = found.largest(found.is_open), int(evidence.n_marked.sum())
    more, where = (None, None) if last_open is None else _narrowing(found, last_open, wished)
    high = float(found.eps[last_open]) if last_open is not None and n_marked else None
    too_few = f"{counted(n_marked, 'marked pair')} can't tell yet. " if n_marked else ""
    if copies is None:
        why = f"{too_few}Mark pairs, or run curate calibrate ({why_no_copies})."
        return Recommendation(None, None, high, "none", why, more, where, left_out)
    by_copies = calibrated_eps(copies, grid, high)
    evident: Literal["calibration", "none"] = "none" if by_copies.eps is None else "calibration"
    why, known = too_few + by_copies.why, (by_copies.eps, by_copies.low, by_copies.high)
    return Recommendation(*known, evident, why, more, where, left_out)


def _narrowing(found: MarkedPrecision, place: int, wished: float) -> tuple[int | None, str | None]:
    """How many more marks make an eps sure, and of which cosines; None if none are left."""
    n_more, cells = marks_needed(found, place, wished)
    if not n_more:
        return None, None
    first, last = cells[0].start, cells[-1].stop - 1
    nearest = float(found.eps[first - 1]) if first else 0.0
    return n_more, cosine_range(float(found.eps[last]), nearest)
