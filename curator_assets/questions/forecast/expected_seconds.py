"""How long a refresh takes, stage by stage, by what the stages took on this machine before.

A stage takes a time to begin and a time a unit of its work; both are fitted to the last
observations. A plan that lies beyond them is foretold by the same line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.engine.rates import Observation, encoder_words, observed
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.questions.forecast.expected_images import ExpectedImages
from curator_assets.questions.forecast.ranges import Range

SPREAD = {True: Range(0.6, 1.6), False: Range(0.8, 1.25)}
"""What a time may be of the one foretold, though the observations agree; True: there is but one."""

COPIED_AT_MOST = 0.1
"""Images encoded for one that was copied, up to which an observation tells the pace of reading."""


@dataclass(frozen=True)
class ExpectedSeconds:
    """The time of all stages that are made.

    Attributes:
        seconds: of those of which a rate is known; None if none is.
        n_observations: that it rests on: those of the stage with the fewest.
        unknown: names of the stages that are left out, for no rate is known.
    """

    seconds: Range | None
    n_observations: int
    unknown: tuple[str, ...]


def expected_seconds(
    amounts: Mapping[Stage, Range], images: ExpectedImages | None, work: Work
) -> ExpectedSeconds:
    """The time of all stages.

    Args:
        amounts: what is made of each, in bytes of tars.
        images: that are embedded; None if their number is not known.
        work: whose ledger keeps the rates.
    """
    known, numbers, unknown = list[Range](), list[int](), list[str]()
    for stage, amount in amounts.items():
        found, seconds = observed(stage, work), None
        if stage is IMAGE_EMBEDDINGS:
            words = encoder_words(work.settings)
            found = [one for one in found if one.encoder == words]
            seconds = _embedding(found, amount, images)
        elif amount.high:
            of = _squared if stage is NEAR_DUPLICATE_PAIRS else _n_bytes
            seconds = _at(found, of, _asked(stage, amount))
        elif amount.low == amount.high:  # nothing of it is made after all
            continue
        if seconds is None:
            unknown.append(stage.name)
        else:
            known.append(seconds)
            numbers.append(len(found))
    total = Range.sum(known) if known else None
    return ExpectedSeconds(total, min(numbers, default=0), tuple(unknown))


def _asked(stage: Stage, amount: Range) -> Range:
    return amount * amount if stage is NEAR_DUPLICATE_PAIRS else amount


def _n_bytes(one: Observation) -> float:
    return one.n_bytes


def _squared(one: Observation) -> float:
    """All pairs of images, as far as bytes tell."""
    return float(one.n_bytes) ** 2


def _embedding(
    found: Sequence[Observation], amount: Range, images: ExpectedImages | None
) -> Range | None:
    """Reading and encoding overlap: it takes as long as the slower of them."""
    if images is None:
        return None
    n_encoded = images.n_encoded
    encoding = _at([one for one in found if one.n_encoded], lambda one: one.n_encoded, n_encoded)
    copied = [one for one in found if one.n_encoded <= COPIED_AT_MOST * one.n_reused]
    reading = _at(copied, _n_bytes, amount) or _read_alone(found, amount)
    if not n_encoded.high or encoding is None:
        return None if n_encoded.high else reading
    reading = reading or Range.of(0)
    return Range(max(encoding.low, reading.low), max(encoding.high, reading.high))


def _read_alone(found: Sequence[Observation], amount: Range) -> Range | None:
    """As long as its reading and hashing took where images were encoded besides."""
    paces = [one.read_seconds / one.n_bytes for one in found if one.read_seconds and one.n_bytes]
    return amount * Range.spread(paces, 0.25) if paces else None


def _at(
    found: Sequence[Observation], unit: Callable[[Observation], float], asked: Range
) -> Range | None:
    """The time that so many units take; None if nothing was observed of such."""
    units = np.array([unit(one) for one in found], np.float64)
    seconds = np.array([one.seconds for one in found], np.float64)
    ok = (units > 0) & (seconds > 0)
    if not ok.any():
        return None
    start, pace = _line(units[ok], seconds[ok])
    off = seconds[ok] / (start + pace * units[ok])
    floor = SPREAD[len(off) == 1]
    low, high = min(float(off.min()), floor.low), max(float(off.max()), floor.high)
    return Range(
        low * (start + pace * asked.low) if asked.low else 0.0,
        high * (start + pace * asked.high) if asked.high else 0.0,
    )


def _line(units: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Start and seconds a unit, neither below 0, that fit best by the relative error.

    Args:
        units: float64 [N], above 0.
        seconds: float64 [N], above 0.
    """
    pace, start = _fitted(units / seconds), _fitted(1 / seconds)
    lines = [(0.0, pace), (start, 0.0)]
    if len(set(units)) > 1:
        columns = np.stack([start / seconds, pace * units / seconds], axis=1)  # of like size
        both = np.linalg.lstsq(columns, np.ones_like(units))[0]
        if (both >= 0).all():
            return float(start * both[0]), float(pace * both[1])
        lines.sort(key=lambda line: _error(line, units, seconds))
    return lines[0]


def _fitted(shares: np.ndarray) -> float:
    """The factor that brings some numbers nearest to 1."""
    return float(shares.sum() / (shares @ shares))


def _error(line: tuple[float, float], units: np.ndarray, seconds: np.ndarray) -> float:
    return float(np.square((line[0] + line[1] * units) / seconds - 1).sum())
