"""How precise each eps is by the marked pairs, and which eps follow from it.

Pairs are drawn uniformly within a band, of each band another share of them. So a band's share of
duplicates is that of its marks up to the eps in question, and bands are weighed by their pairs.
Bands of fewer than `MIN_PAIRS` pairs are one with the next. A band without a mark counts as wrong.
Pairs of cosine 1 are left out: there are many, and they tell nothing.

The interval is that of Wilson (1927) for as many marks as would say as much if they were drawn from
all pairs alike (Kish, 1965), corrected for what is already known of a finite population: where all
pairs are marked, the share is known. Marks of other pairs, which were drawn before another image
stood for one of theirs, are a sample as well, but leave the pairs that there are unmarked.

The share at an eps never falls with a mark that says duplicate, nor does its lower end; it never
rises with one that says different, nor does its upper end: strata depend on no mark, and all is
looked at on one grid. So neither does the recommended eps.

Legend: *G eps of the grid, S strata*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curator_assets.report.numbers.cosine_bands import Band
from curator_assets.report.numbers.cosine_grid import CosineGrid
from curator_assets.report.numbers.marked_pairs import Mark
from curator_assets.report.numbers.score_interval import is_refuted, score_interval

MIN_PAIRS = 20
"""Pairs of a band below which it is one with the next: as many as are asked for of each."""

MIN_DUPLICATES = 10
"""Pairs marked duplicate without which an eps is not recommended, where there are so many pairs."""

_ROUNDING = 1e-12  # of a weighed sum


@dataclass(frozen=True)
class Evidence:
    """Pairs and marks by cell of the grid.

    Attributes:
        n_pairs: int64 [G], without those of cosine 1.
        n_marked: int64 [G], likewise.
        n_right: int64 [G], those marked duplicate.
        n_identical: marked pairs of cosine 1.
        n_identical_right: those of them that are marked duplicate.
        n_absent: int64 [G], marked pairs that are not among the pairs; 0 if all are.
    """

    n_pairs: np.ndarray
    n_marked: np.ndarray
    n_right: np.ndarray
    n_identical: int = 0
    n_identical_right: int = 0
    n_absent: np.ndarray | int = 0

    @classmethod
    def of(
        cls,
        grid: CosineGrid,
        n_pairs: np.ndarray,
        marks: Sequence[Mark],
        absent: Sequence[Mark] = (),
    ) -> Evidence:
        """From the pairs by cell, int64 [G], the marks, and those of no pair among these."""
        cosines = np.array([mark.cosine for mark in marks], np.float32)
        is_duplicate = np.array([mark.is_duplicate for mark in marks], bool)
        same = cosines >= 1
        marked, right = grid.counts(cosines), grid.counts(cosines[is_duplicate])
        n_absent = grid.counts(np.array([mark.cosine for mark in absent], np.float32))
        n_same, n_same_right = int(same.sum()), int((same & is_duplicate).sum())
        return cls(n_pairs, marked, right, n_same, n_same_right, n_absent)


@dataclass(frozen=True)
class MarkedPrecision:
    """What the marks say of each eps of the grid.

    Attributes:
        eps: float64 [G], of the grid.
        strata: the cells of each stratum.
        n: float64 [S, G], the pairs of each stratum that each eps removes.
        n_marked: float64 [S, G], the marked ones.
        n_left: float64 [S, G], those of the pairs that nobody has marked.
        n_right: float64 [S, G], those that are marked duplicate.
        share: float64 [G], precision: of the pairs that the eps removes, identical ones apart.
        low: float64 [G], the lower end of its interval.
        high: float64 [G], the upper one.
        is_precise: bool [G], whether the eps can be recommended.
        is_open: bool [G], whether it is not refuted.
        is_sure: bool [G], whether it is precise at 95 %.
    """

    eps: np.ndarray
    strata: list[slice]
    n: np.ndarray
    n_marked: np.ndarray
    n_left: np.ndarray
    n_right: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    is_precise: np.ndarray
    is_open: np.ndarray
    is_sure: np.ndarray

    def largest(self, which: np.ndarray) -> int | None:
        """The last place on the grid of which a bool [G] is true."""
        places = np.flatnonzero(which)
        return int(places[-1]) if len(places) else None

    def reached(self, place: int) -> int:
        """The first place that takes in as many pairs; the same if it takes in none."""
        n_pairs = self.n.sum(axis=0)
        return int(np.searchsorted(n_pairs, n_pairs[place])) if n_pairs[place] else place


def marked_precision(
    grid: CosineGrid, bands: list[Band], evidence: Evidence, wished: float
) -> MarkedPrecision:
    """What the marks say of each eps.

    An eps can be recommended if as large a share as is wished of what it removes are duplicates, a
    single wrong mark forgiven where it may be chance; if no stretch of marks that ends there is
    refuted, so that it does not end on wrong ones; if it reaches no farther than the farthest pair
    marked duplicate, or as empty space allows; and if enough of them are marked so:
    `MIN_DUPLICATES`, or as many as are wished of all pairs there are.
    """
    strata = _strata(grid, bands, evidence.n_pairs)
    marked, right = (_up_to(strata, counts) for counts in (evidence.n_marked, evidence.n_right))
    there = _up_to(strata, evidence.n_pairs)
    left = np.maximum(there - _up_to(strata, evidence.n_marked - evidence.n_absent), 0)
    pairs = np.maximum(there, marked)
    known = np.divide(right, marked, out=np.zeros_like(right), where=marked > 0)
    supposed = np.where(marked > 0, known, 1)
    share, low, _ = _shares(pairs, marked, left, known)
    _, _, high = _shares(pairs, marked, left, supposed)
    n_pairs, n_right = pairs.sum(axis=0), right.sum(axis=0)
    unrefuted = ~_ends_on_refuted(evidence, wished)
    is_precise = (
        ((share >= wished - _ROUNDING) | _is_precise_but_for_one(pairs, marked, right, wished))
        & unrefuted
        & _is_reached(evidence)
        & (n_right >= np.minimum(MIN_DUPLICATES, wished * n_pairs))
    )
    return MarkedPrecision(
        grid.eps,
        strata,
        pairs,
        marked,
        left,
        right,
        share,
        low,
        high,
        is_precise,
        is_open=(high >= wished - _ROUNDING) & unrefuted,
        is_sure=is_precise & (low >= wished - _ROUNDING),
    )


def effective_marks(pairs: np.ndarray, marked: np.ndarray, left: np.ndarray) -> np.ndarray:
    """float64 [G]: marks that would say as much if they were drawn from all pairs alike.

    Args:
        pairs: float64 [S, G].
        marked: float64 [S, G], at most as many; a stratum without any counts like one with one.
        left: float64 [S, G], those of the pairs that are not marked.
    """
    spread = (pairs * left / np.maximum(marked, 1)).sum(axis=0)
    found: np.ndarray = np.full_like(spread, np.inf)
    np.divide(pairs.sum(axis=0) ** 2, spread, out=found, where=spread > 0)
    return found


def _is_precise_but_for_one(
    pairs: np.ndarray, marked: np.ndarray, right: np.ndarray, wished: float
) -> np.ndarray:
    """Bool [G]: the share is as wished but for one wrong mark, which may be chance.

    There are so many pairs that the share can be as wished all the same, and no band is refuted.
    Else a slip of the hand among the nearest pairs would decide alone.
    """
    share = np.divide(right, marked, out=np.zeros_like(right), where=marked > 0)
    worth = np.divide(pairs, marked, out=np.zeros_like(right), where=(right > 0) & (right < marked))
    n_pairs, n_wrong = pairs.sum(axis=0), (marked - right).sum(axis=0)
    n_right = (pairs * share).sum(axis=0) + worth.max(axis=0, initial=0)
    found: np.ndarray = n_right >= (wished - _ROUNDING) * n_pairs
    is_possible = n_wrong <= (1 - wished) * n_pairs
    found &= is_possible & ~is_refuted(right, marked, wished).any(axis=0)
    return found


def _shares(
    pairs: np.ndarray, marked: np.ndarray, left: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 [G] share of duplicates and the ends of its interval; 1 where nothing is removed."""
    total, right = pairs.sum(axis=0), (pairs * share).sum(axis=0)
    weighed = np.divide(right, total, out=np.ones_like(total), where=total > 0)
    return (weighed, *score_interval(weighed, effective_marks(pairs, marked, left)))


def _strata(grid: CosineGrid, bands: list[Band], n_pairs: np.ndarray) -> list[slice]:
    """The cells of each stratum: neighbouring bands of at least `MIN_PAIRS` pairs together."""
    ends = np.searchsorted(grid.eps, [band.eps_to for band in bands[1:]]) + 1
    found, start = list[slice](), 0
    for end in ends.tolist():
        if n_pairs[start:end].sum() >= MIN_PAIRS:
            found.append(slice(start, end))
            start = end
    last = slice(found.pop().start if found and start < len(n_pairs) else start, len(n_pairs))
    return [*found, last] if last.start < last.stop else found


def _up_to(strata: list[slice], counts: np.ndarray) -> np.ndarray:
    """float64 [S, G]: what each stratum holds up to each cell."""
    found = np.zeros((len(strata), len(counts)))
    for row, cells in zip(found, strata, strict=True):
        row[cells] = np.cumsum(counts[cells])
        row[cells.stop :] = row[cells.stop - 1]
    return found


def _is_reached(evidence: Evidence) -> np.ndarray:
    """Bool [G]: nothing lies between an eps and the farthest pair marked duplicate before it."""
    there = np.cumsum(np.maximum(evidence.n_pairs, evidence.n_marked))
    last = np.flatnonzero(evidence.n_right)
    n_reached = there[last[-1]] if len(last) else 0
    reached: np.ndarray = there <= n_reached
    return reached


def _ends_on_refuted(evidence: Evidence, wished: float) -> np.ndarray:
    """Bool [G]: of the marks from some cosine on down to the eps too few say duplicate."""
    marked, right = np.cumsum(evidence.n_marked), np.cumsum(evidence.n_right)
    refuted = np.zeros(len(marked), bool)
    for cell in np.flatnonzero(evidence.n_marked > evidence.n_right).tolist():
        before = (marked[cell - 1], right[cell - 1]) if cell else (0, 0)
        refuted[cell:] |= is_refuted(right[cell:] - before[1], marked[cell:] - before[0], wished)
    return refuted
