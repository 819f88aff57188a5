"""A quantity that is foretold: it lies between two bounds, which are equal where it is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Range:
    """From `low` to `high`; `likely` is None where nothing tells more than that."""

    low: float
    high: float
    likely: float | None = field(default=None, compare=False)

    @classmethod
    def of(cls, value: float) -> Range:
        """What is known."""
        return cls(value, value)

    @classmethod
    def sum(cls, parts: Iterable[Range]) -> Range:
        """Of several: all may be low, or all high."""
        return sum(parts, start=cls(0, 0))

    @classmethod
    def spread(cls, values: Sequence[float], least: float) -> Range:
        """That of some positive values, at least one.

        Args:
            values: that were seen.
            least: by what fraction at least each bound is off their median, for what was not seen.
        """
        mid = median(values)
        return cls(min(*values, mid / (1 + least)), max(*values, mid * (1 + least)), mid)

    @property
    def is_known(self) -> bool:
        """Whether both bounds are equal."""
        return self.low == self.high

    @property
    def expected(self) -> float:
        """What is likely, or halfway between the bounds."""
        return (self.low + self.high) / 2 if self.likely is None else self.likely

    def __add__(self, other: Range) -> Range:
        expected = self.expected + other.expected
        return Range(self.low + other.low, self.high + other.high, expected)

    def __mul__(self, other: Range) -> Range:
        expected = self.expected * other.expected
        return Range(self.low * other.low, self.high * other.high, expected)
