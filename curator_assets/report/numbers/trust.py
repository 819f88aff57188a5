"""What was measured of whether the removals can be trusted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecallFound:
    """Pairs that brute force found on a sample, and how many of those the search found."""

    n_queries: int
    n_true: int
    n_found: int


@dataclass(frozen=True)
class Trust:
    """What was measured; see DESIGN.

    Attributes:
        search: exact or fast.
        n_removed: removed images.
        n_without_kept: those whose kept image is itself not kept, or lies beyond eps.
        lowest_cosine: of a removed image to its kept one; None without any.
        recall: of the search; None if it was not measured.
        n_marked: marked pairs that the chosen eps removes.
        n_marked_duplicate: those that are duplicates.
        low: lower end of the 95 % interval of their share; None without marks.
        high: its upper end; likewise.
        accounted: whether the verdicts add up to the samples read.
    """

    search: str
    n_removed: int
    n_without_kept: int
    lowest_cosine: float | None
    recall: RecallFound | None
    n_marked: int
    n_marked_duplicate: int
    low: float | None
    high: float | None
    accounted: bool
