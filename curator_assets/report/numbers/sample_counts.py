"""One pass over the shards that counts and collects all that the report shows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from curator_assets.report.numbers.near_threshold import NearThreshold
from curator_assets.report.numbers.score_distributions import ScoreCounts, spans
from curator_assets.report.numbers.shard_frames import frames, score_columns
from curator_assets.report.numbers.shown_images import Facts, StoredFacts
from curator_assets.report.numbers.tally import Tally
from curator_assets.settings import Settings
from curator_assets.storage.shards.pixels import Address
from curator_assets.storage.store import Store

RATES = ("format", "size", "folder")
MAX_NEAR, MAX_BOUNDS = 8, 40
_NEAR_IMAGES = 80


class Collector(Protocol):
    """What grows by the samples of some shards at a time."""

    def add(self, frame: pl.DataFrame) -> None:
        """Take what it counts or collects from the samples of a frame."""


@dataclass(frozen=True)
class Counts:
    """What a pass over the shards has found.

    Attributes:
        reasons: by verdict and reason.
        shards: by shard.
        cells: by cell, images with an embedding only.
        rates: by each of `RATES`.
        scores: each score's distribution.
        near: the images nearest to each threshold.
        facts: what is stored of the images that the galleries show.
    """

    reasons: Tally
    shards: Tally
    cells: Tally
    rates: Mapping[str, Tally]
    scores: Sequence[ScoreCounts]
    near: Sequence[NearThreshold]
    facts: Mapping[Address, Facts]


def count_samples(
    store: Store,
    shards: Sequence[str],
    settings: Settings,
    addresses: Iterable[Address],
    besides: Iterable[Collector] = (),
) -> Counts:
    """Count the samples of all shards.

    Args:
        store: where their tables lie.
        shards: in order of arrival.
        settings: in force.
        addresses: the images whose facts are wanted.
        besides: what else is shown the samples.
    """
    of = spans(store, shards, score_columns(settings))
    scores = [ScoreCounts(score, span, settings) for score, span in of.items()]
    bounds = [(s.score, side, bound) for s in scores for side, bound in s.bounds][:MAX_BOUNDS]
    n_near = min(MAX_NEAR, _NEAR_IMAGES // max(len(bounds), 1))
    near = [NearThreshold(*bound, n_near) for bound in bounds]
    facts = StoredFacts(addresses)
    reasons, by_shard = Tally(reason=pl.String), Tally(shard=pl.String)
    cells = Tally(cell=pl.Int32)
    rates = {by: Tally(**{by: pl.String}) for by in RATES}
    collectors: list[Collector] = [reasons, by_shard, *rates.values(), *scores, *near, facts]
    collectors += besides
    for frame in frames(store, shards, settings):
        for each in collectors:
            each.add(frame)
        cells.add(frame.filter(pl.col("cell").is_not_null()))
    return Counts(reasons, by_shard, cells, rates, scores, near, _with_near(facts, near))


def _with_near(facts: StoredFacts, near: Sequence[NearThreshold]) -> dict[Address, Facts]:
    """The facts, and those of the images near a threshold, which were not known before."""
    return facts.found | {address: f for each in near for address, f in each.facts().items()}
