"""Every score that a rule uses: its distribution, and what another threshold would keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from curator_assets.report.numbers.shard_frames import read_ahead
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_table

N_BINS = 60
N_THRESHOLDS = 11
_LOG_RATIO = 100  # values that span more than this are binned by their logarithm


@dataclass
class Span:
    """The finite values of a score among readable images.

    Attributes:
        low: the smallest; infinite if there is none.
        high: the largest.
    """

    low: float = np.inf
    high: float = -np.inf

    @property
    def is_empty(self) -> bool:
        """Whether there is no value."""
        return self.low > self.high

    @property
    def is_logarithmic(self) -> bool:
        """Whether bins are of equal ratio; never for what lies within 0 to 1, as shares do."""
        return self.low > 0 and self.high > 1 and self.high / self.low > _LOG_RATIO

    def edges(self) -> np.ndarray:
        """float64 [N_BINS + 1] bin edges, ascending; the outer ones are the span's own."""
        if self.low == self.high:
            edges = np.linspace(self.low - 0.5, self.high + 0.5, N_BINS + 1)
        elif self.is_logarithmic:
            edges = np.geomspace(self.low, self.high, N_BINS + 1)
        else:
            edges = np.linspace(self.low, self.high, N_BINS + 1)
        if self.low < self.high:
            edges[0], edges[-1] = self.low, self.high
        return edges


def spans(store: Store, shards: Iterable[str], scores: Sequence[str]) -> dict[str, Span]:
    """The span of each score over all shards."""
    found = {score: Span() for score in scores}

    def read(shard: str) -> pa.Table:
        return read_table(store, layout.curated_table(shard), ["verdict", *scores])

    for table in read_ahead(shards, read) if scores else ():
        readable = np.asarray(table["verdict"]) != "unreadable"
        for score, span in found.items():
            values = table[score].to_numpy().astype(float)[readable]
            values = values[np.isfinite(values)]
            span.low = min(span.low, float(values.min(initial=np.inf)))
            span.high = max(span.high, float(values.max(initial=-np.inf)))
    return found


class ScoreCounts:
    """Histogram and thresholds of one score, counted a frame at a time.

    Args:
        score: its name.
        span: of its values.
        settings: whose thresholds are marked.
    """

    def __init__(self, score: str, span: Span, settings: Settings) -> None:
        self.score, self.span = score, span
        self.rules = [rule for rule in settings.filters if rule.score == score]
        self.edges = np.zeros(0) if span.is_empty else span.edges()
        self.counts = np.zeros(max(len(self.edges) - 1, 0), np.int64)
        self.n_readable = 0
        self._thresholds = {side: _thresholds(self, side) for side in self.sides}
        self._n_kept = {
            side: np.zeros(len(values), np.int64) for side, values in self._thresholds.items()
        }

    @property
    def sides(self) -> list[str]:
        """Which bounds the rules set; both where there is no rule."""
        bounded = {side for side, _ in self.bounds}
        return [side for side in ("min", "max") if side in bounded or not bounded]

    @property
    def bounds(self) -> list[tuple[str, float]]:
        """(side, threshold) of every rule on the score."""
        named = [(side, getattr(rule, side)) for rule in self.rules for side in ("min", "max")]
        return [(side, bound) for side, bound in named if bound is not None]

    def add(self, frame: pl.DataFrame) -> None:
        """Count the readable images of a frame."""
        values = frame.filter(pl.col("readable"))[f"score:{self.score}"].to_numpy()
        self.n_readable += len(values)
        values = np.sort(values[np.isfinite(values)])
        if len(self.counts):
            self.counts += np.histogram(values, self.edges)[0]
        for side, thresholds in self._thresholds.items():
            if side == "min":
                self._n_kept[side] += len(values) - np.searchsorted(values, thresholds, "left")
            else:
                self._n_kept[side] += np.searchsorted(values, thresholds, "right")

    def kept_at_bounds(self) -> list[tuple[str, float, int]]:
        """(side, threshold, images kept) of the rule of each side that drops the most."""
        found = []
        for side, tightest in (("min", max), ("max", min)):
            bounds = [bound for name, bound in self.bounds if name == side]
            if bounds:
                bound = tightest(bounds)
                place = np.searchsorted(self._thresholds[side], bound)
                found.append((side, bound, int(self._n_kept[side][place])))
        return found

    def histogram(self) -> pl.DataFrame:
        """Rows of the table `histograms`."""
        schema = {"score": pl.String, "bin_start": pl.Float64, "bin_end": pl.Float64}
        columns = {"bin_start": self.edges[:-1], "bin_end": self.edges[1:]}
        return pl.DataFrame(
            {"score": [self.score] * len(self.counts)} | columns | {"n_images": self.counts},
            schema=schema | {"n_images": pl.Int64},
        )

    def thresholds(self) -> pl.DataFrame:
        """Rows of the table `thresholds`."""
        chosen = set(self.bounds)
        rows = [
            {
                "score": self.score,
                "side": side,
                "threshold": float(threshold),
                "chosen": (side, float(threshold)) in chosen,
                "n_kept": int(n),
                "kept_fraction": int(n) / max(self.n_readable, 1),
            }
            for side, values in self._thresholds.items()
            for threshold, n in zip(values, self._n_kept[side], strict=True)
        ]
        schema = {"score": pl.String, "side": pl.String, "threshold": pl.Float64}
        counts = {"chosen": pl.Boolean, "n_kept": pl.Int64, "kept_fraction": pl.Float64}
        return pl.DataFrame(rows, schema=schema | counts)


def _thresholds(counts: ScoreCounts, side: str) -> np.ndarray:
    """Some round values over the span, and the chosen ones; ascending."""
    spread = counts.edges[:: N_BINS // (N_THRESHOLDS - 1)]
    rounded = [float(f"{value:.3g}") for value in spread]
    chosen = [bound for name, bound in counts.bounds if name == side]
    return np.unique(np.array([*rounded, *chosen], dtype=np.float64))
