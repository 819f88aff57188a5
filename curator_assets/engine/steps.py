"""The stages of a refresh as steps that a person follows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from curator_assets.engine.freshness import Examined, in_short
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.progress import duration
from curator_assets.engine.stage import Stage
from curator_assets.number_words import counted_or_no

_UNITS = {Partitioning.SHARD: "shard", Partitioning.CELL_GROUP: "cell group"}
_REASONS = 5
"""Reasons why something is made, the most frequent ones, that a line names."""


@dataclass
class Step:
    """What a refresh does about one stage, once or, after damage, several times.

    Attributes:
        number: of the step, from 1.
        n_steps: of the refresh.
        n_made: partitions.
        n_fresh: likewise.
        n_failed: likewise.
        n_lacking: further ones, of which what they are made from has failed.
        seconds: that it took.
    """

    stage: Stage
    number: int
    n_steps: int
    n_made: int = 0
    n_fresh: int = 0
    n_failed: int = 0
    n_lacking: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def title(self) -> str:
        """`3 of 9: near_duplicate_pairs`."""
        return f"{self.number} of {self.n_steps}: {self.stage.name}"

    def begun(self, examined: Examined) -> str:
        """What is about to be made of its partitions, and why."""
        whys = in_short(examined.stale | examined.undecided).values()
        reasons = Counter(whys)
        n_stale, n_fresh = reasons.total(), len(examined.fresh)
        unit = _UNITS.get(self.stage.by)
        if unit is None:
            words = "to make" if n_stale else "fresh" if n_fresh else "can't be made"
        elif n_stale:
            words = f"{counted_or_no(n_stale, unit)} to make, {n_fresh:,} fresh"
        else:
            words = f"{counted_or_no(n_fresh, unit)} fresh, none to make"
        named = reasons.most_common(_REASONS)
        why = ", ".join(reason if unit is None else f"{n:,} {reason}" for reason, n in named)
        if n_others := n_stale - sum(n for _, n in named):
            why += f", {n_others:,} for other reasons"
        failed = f"; {len(examined.failed):,} can't be made" if examined.failed and unit else ""
        lacking = f"; {lack(self.n_lacking)}" if self.n_lacking else ""
        return f"{self.title}: {words}{f' ({why})' if why else ''}{failed}{lacking}"

    def ended(self, n_made: int, n_failed: int, seconds: float) -> str:
        """What was made, in which time."""
        failed = f", {n_failed:,} failed" if n_failed else ""
        return f"{self.title}: {n_made:,} made{failed} in {taken(seconds)}"


def lack(n: int) -> str:
    """How many partitions can't be made before others are."""
    return f"{n:,} {'lacks what it is' if n == 1 else 'lack what they are'} made from"


def taken(seconds: float) -> str:
    """A time as a person says it, to a tenth of a second where it is short."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def all_ended(steps: list[Step]) -> str:
    """What all steps made, in which time."""
    n_made, n_failed = sum(step.n_made for step in steps), sum(step.n_failed for step in steps)
    failed = f", {n_failed:,} failed" if n_failed else ""
    n_lacking = sum(step.n_lacking for step in steps)
    failed += f", {lack(n_lacking)}" if n_lacking else ""
    made = counted_or_no(n_made, "partition")
    seconds = sum(step.seconds for step in steps)
    return f"{counted_or_no(len(steps), 'step')} in {taken(seconds)}: {made} made{failed}"
