"""A quantity that is foretold: it lies between two bounds, which are equal where it is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

N_FOR_QUANTILES = 20
"""Values from which the outermost 5 % at each end are passed over."""


@dataclass(frozen=True)
class Range:
    """From `low` to `high`."""

    low: float
    high: float

    @classmethod
    def of(cls, value: float) -> Range:
        """What is known."""
        return cls(value, value)

    @classmethod
    def sum(cls, parts: Iterable[Range]) -> Range:
        """Of several: all may be low, or all high."""
        total = cls(0, 0)
        for part in parts:
            total += part
        return total

    @classmethod
    def spread(cls, values: Sequence[float], least: float) -> Range:
        """That of some positive values, at least one, their outliers aside.

        Args:
            values: that were seen.
            least: by what fraction at least each bound is off their median, for what was not seen.
        """
        of_all = len(values) < N_FOR_QUANTILES
        low, mid, high = np.quantile(values, [0, 0.5, 1] if of_all else [0.05, 0.5, 0.95])
        return cls(min(float(low), mid / (1 + least)), max(float(high), mid * (1 + least)))

    @property
    def is_known(self) -> bool:
        """Whether both bounds are equal."""
        return self.low == self.high

    @property
    def middle(self) -> float:
        """Between the two."""
        return (self.low + self.high) / 2

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, other: Range) -> Range:
        return Range(self.low * other.low, self.high * other.high)
