"""Which eps the evidence recommends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LeftOutMark:
    """A marked pair that does not count, and why."""

    image_id: str
    kept_id: str
    why: str


@dataclass(frozen=True)
class Recommendation:
    """An eps, the interval that the evidence leaves open, and where it comes from."""

    eps: float | None
    low: float | None
    high: float | None
    evidence: Literal["verdicts", "calibration", "none"]
    why: str
    n_more: int | None
    where: str | None
    left_out: Sequence[LeftOutMark]
