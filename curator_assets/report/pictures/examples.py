"""Which duplicates the galleries show, each pair once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from curator_assets.report.numbers.duplicate_tables import DuplicateTables
from curator_assets.report.numbers.shown_images import Facts, ShownImage
from curator_assets.report.pictures.transform_guess import other_aspect
from curator_assets.storage.shards.pixels import Address

N_NEAREST, N_DOUBTFUL, N_ASPECTS, N_MEMBERS = 8, 8, 24, 5
"""Pairs of lowest cosine; doubtful ones of each kind, and how many of another aspect ratio are
looked at to find those; members of a group."""

_FIRST_LINE = 2  # of pairs_to_mark.csv, behind its head


@dataclass(frozen=True)
class Pair:
    """An image and the kept one that stands for it, or would at a larger eps.

    Attributes:
        kept: the one that is kept.
        removed: the other one.
        number: line of `pairs_to_mark.csv`; None if it is not to be marked.
    """

    kept: ShownImage
    removed: ShownImage
    number: int | None

    @property
    def key(self) -> tuple[str, str]:
        """Names the pair."""
        return self.removed.image_id, self.kept.image_id


@dataclass(frozen=True)
class Group:
    """A kept image, how many images its group has, and those farthest from it, farthest first."""

    kept: ShownImage
    size: int
    members: list[Pair]

    def without(self, pairs: Iterable[Pair]) -> Group:
        """With the members that are not among `pairs`."""
        shown = {pair.key for pair in pairs}
        return replace(self, members=[pair for pair in self.members if pair.key not in shown])


@dataclass(frozen=True)
class Examples:
    """The pairs that were drawn, told apart by where they are shown.

    Attributes:
        n_lowest: the removed images of lowest cosine that were looked at.
        nearest: the first of them.
        bands: of each band those that are to be marked, and a few of those that need not be.
        n_elsewhere: of each band, how many of those are among the nearest.
        candidates: further removed pairs of low cosine, among which doubtful ones are looked for.
        groups: the largest.
    """

    n_lowest: int
    nearest: list[Pair]
    bands: list[list[Pair]]
    n_elsewhere: list[int]
    candidates: list[Pair]
    groups: list[Group]

    @classmethod
    def choose(cls, duplicates: DuplicateTables) -> Examples:
        """Choose among the pairs that were drawn."""
        numbers = _numbers(duplicates)
        lowest = _pairs(duplicates.lowest, numbers)
        nearest = lowest[:N_NEAREST]
        shown, bands, n_elsewhere = {pair.key for pair in nearest}, list[list[Pair]](), list[int]()
        drawn = pl.concat([duplicates.to_mark, duplicates.identical])
        drawn = drawn.unique(["id", "kept_id"], keep="first", maintain_order=True)
        for band in range(len(duplicates.bands)):
            pairs = _pairs(drawn.filter(pl.col("band") == band), numbers)
            bands.append([pair for pair in pairs if pair.key not in shown])
            n_elsewhere.append(len(pairs) - len(bands[-1]))
        shown |= {pair.key for pairs in bands for pair in pairs}
        return cls(
            n_lowest=len(lowest),
            nearest=nearest,
            bands=bands,
            n_elsewhere=n_elsewhere,
            candidates=[pair for pair in lowest if pair.key not in shown],
            groups=[
                _group(size, duplicates.members[kept_id], numbers)
                for kept_id, size in duplicates.largest
            ],
        )

    def drawn(self) -> list[Pair]:
        """The pairs of the nearest and of the bands."""
        return [*self.nearest, *(pair for pairs in self.bands for pair in pairs)]

    def addresses(self) -> set[Address]:
        """Of every image that may be shown."""
        members = (pair for group in self.groups for pair in group.members)
        pairs = [*self.drawn(), *self.candidates, *members]
        return {image.address for pair in pairs for image in (pair.kept, pair.removed)}


def with_other_captions(pairs: Iterable[Pair], captions: Mapping[Address, str]) -> list[Pair]:
    """The first pairs whose two images are captioned differently."""
    return _known(pairs, lambda a, b: captions[a] != captions[b], captions)[:N_DOUBTFUL]


def with_other_aspects(pairs: Iterable[Pair], facts: Mapping[Address, Facts]) -> list[Pair]:
    """The pairs whose two images differ in width / height."""
    return _known(pairs, lambda a, b: other_aspect(facts[a], facts[b]), facts)


def _known(
    pairs: Iterable[Pair], wanted: Callable[[Address, Address], bool], known: Mapping[Address, Any]
) -> list[Pair]:
    both = ((pair, pair.kept.address, pair.removed.address) for pair in pairs)
    return [pair for pair, a, b in both if a in known and b in known and wanted(a, b)]


def _numbers(duplicates: DuplicateTables) -> dict[tuple[str, str], int]:
    """Lines of the pairs to mark; none if the table of a last report was left as it was."""
    if duplicates.n_filled_in_place:
        return {}
    keys = duplicates.to_mark.select("id", "kept_id").iter_rows()
    return {(id_, kept_id): line for line, (id_, kept_id) in enumerate(keys, _FIRST_LINE)}


def _pairs(rows: pl.DataFrame, numbers: Mapping[tuple[str, str], int]) -> list[Pair]:
    return [_pair(row, numbers) for row in rows.to_dicts()]


def _pair(row: Mapping[str, Any], numbers: Mapping[tuple[str, str], int]) -> Pair:
    return Pair(
        kept=ShownImage((row["kept_shard"], row["kept_position"]), row["kept_id"]),
        removed=ShownImage((row["shard"], row["position"]), row["id"], cosine=row["cosine"]),
        number=numbers.get((row["id"], row["kept_id"])),
    )


def _group(size: int, rows: list[dict[str, Any]], numbers: Mapping[Any, int]) -> Group:
    members = [_pair(row, numbers) for row in rows]
    return Group(members[0].kept, size, members)
