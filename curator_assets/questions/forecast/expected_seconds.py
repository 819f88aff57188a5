"""How long a refresh takes, stage by stage, by what the stages took on this machine before.

A stage takes a time to begin and a time a unit of its work; both are fitted to the last
observations. A plan that lies beyond them is foretold by the same line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.engine.rates import Observation, encoder_words, observed
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.questions.forecast.expected_images import ExpectedImages
from curator_assets.questions.forecast.ranges import Range

TIMES_VARY = {True: Range(0.6, 1.6), False: Range(0.8, 1.25)}
"""What a time may be of the one foretold, though the observations agree; True: there is but one."""


_ALL = Range.of(1)


@dataclass(frozen=True)
class ExpectedSeconds:
    """The time of all stages that are made.

    Attributes:
        seconds: of those of which a rate is known; None if none is.
        n_observations: that it rests on: those of the stage with the fewest.
        unknown: names of the stages that are left out, for no rate is known. Where the number of
            images is not known, embedding is left out besides.
    """

    seconds: Range | None
    n_observations: int
    unknown: tuple[str, ...]


def expected_seconds(
    amounts: Mapping[Stage, Range],
    images: ExpectedImages | None,
    work: Work,
    *,
    cells_grow: float = 1.0,
    compared: Range = _ALL,
) -> ExpectedSeconds:
    """The time of all stages.

    Args:
        amounts: what is made of each, in bytes of tars.
        images: that are embedded; None if their number is not known.
        work: whose ledger keeps the rates.
        cells_grow: the cells that a new codebook gets, in multiples of those that there are. Each
            image is compared with more centroids then, and with as many fewer images at best.
        compared: the share of the pairs of a full search that is compared.
    """
    of_cells = {
        CLUSTER_ASSIGNMENTS: Range(1, max(cells_grow, 1.0)),
        NEAR_DUPLICATE_PAIRS: Range(min(1 / cells_grow, 1.0), 1),
    }
    known, numbers, unknown = list[Range](), list[int](), list[str]()
    for stage, amount in amounts.items():
        found, seconds = observed(stage, work), None
        if stage is IMAGE_EMBEDDINGS:
            if images is None:
                continue
            words = encoder_words(work.settings)
            found = [one for one in found if one.encoder == words]
            seconds = _embedding(found, amount, images)
        elif not amount.high:  # nothing of it is made after all
            continue
        elif stage is NEAR_DUPLICATE_PAIRS:  # all pairs of images, as far as bytes tell
            pairs = amount * amount * compared
            seconds = _at(found, lambda one: float(one.n_bytes) ** 2 * one.share, pairs)
        else:
            seconds = _at(found, lambda one: one.n_bytes, amount)
        if seconds is None:
            unknown.append(stage.name)
        else:
            known.append(seconds * of_cells.get(stage, Range.of(1)))
            numbers.append(len(found))
    total = Range.sum(known) if known else None
    return ExpectedSeconds(total, min(numbers, default=0), tuple(unknown))


def _embedding(found: Sequence[Observation], amount: Range, images: ExpectedImages) -> Range | None:
    """Reading and encoding overlap: it takes as long as the slower of them."""
    n_encoded = images.n_encoded
    encoders = [one for one in found if one.is_of_encoding]
    copiers = [one for one in found if one.is_of_copying]
    encoding = _at(encoders, lambda one: one.n_encoded, n_encoded)
    reading = _at(copiers, lambda one: one.n_bytes, amount)
    is_copied = images.n_reused.expected > n_encoded.expected
    if (n_encoded.high and encoding is None) or (is_copied and reading is None):
        return None
    encoding, reading = encoding or Range.of(0), reading or Range.of(0)
    return Range(
        max(encoding.low, reading.low),
        max(encoding.high, reading.high),
        max(encoding.expected, reading.expected),
    )


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
    least = TIMES_VARY[len(off) == 1]
    low, expected, high = (
        start + pace * n if n else 0.0 for n in (asked.low, asked.expected, asked.high)
    )
    return Range(
        min(float(off.min()), least.low) * low, max(float(off.max()), least.high) * high, expected
    )


def _line(units: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Start and seconds a unit, neither below 0, that fit best by the relative error.

    Args:
        units: float64 [N], above 0.
        seconds: float64 [N], above 0.
    """
    most, target = units.max(), np.ones_like(units)  # columns of like size
    columns = np.stack([1 / seconds, units / most / seconds], axis=1)
    start, pace = np.linalg.lstsq(columns, target)[0]
    if len(set(units)) == 1 or start < 0 or pace < 0:
        start, (pace,) = 0.0, np.linalg.lstsq(columns[:, 1:], target)[0]
    return float(start), float(pace / most)
