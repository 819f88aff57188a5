"""The path of one image through the pipeline, without reading more tables than lie on it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS, cell_group_of
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.freshness import examine, why_other_code
from curator_assets.engine.partitioning import ALL, Partitioning
from curator_assets.engine.stage import Stage, ancestors
from curator_assets.engine.work import Work
from curator_assets.questions.sample_lookup import Sample, find_sample
from curator_assets.questions.stored_work import stale_tar
from curator_assets.storage import layout
from curator_assets.storage.shards.pixels import Address
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import find_rows

MAX_NEIGHBOURS = 20


@dataclass(frozen=True)
class Cell:
    """Where an image lives, and the other cells in which it is compared.

    `groups` are the groups of cells that can hold its pairs.
    """

    number: int
    n_cells: int
    centroid_cosine: float
    visits: tuple[int, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Neighbour:
    """An image within max_eps, and what became of it."""

    address: Address
    cosine: float
    image_id: str
    verdict: str


@dataclass(frozen=True)
class Neighbours:
    """The stored near-duplicates of an image.

    Attributes:
        n: how many there are.
        nearest: the nearest of them.
        is_dense: whether it lies in a clump, whose pairs are not listed.
    """

    n: int
    nearest: list[Neighbour]
    is_dense: bool


@dataclass(frozen=True)
class Explanation:
    """All that is stored of an image; None for what was not made yet.

    Attributes:
        curated: its row beside the curated tar: verdict, reason, kept_id, cosine.
        kept: where the image lies that stands for it, if one does.
        stands_for: the resolution's rows in which it is the kept image, the nearest first.
        stale: asset -> why what is told of it may be out of date.
    """

    sample: Sample
    curated: dict[str, Any] | None
    kept: Address | None
    stands_for: list[dict[str, Any]]
    cell: Cell | None
    neighbours: Neighbours | None
    stale: dict[str, str]


def explain(work: Work, image_id: str) -> Explanation:
    """What became of an image, and why.

    Raises:
        UnknownImageError: there is none of this id.
    """
    sample = find_sample(work, image_id)
    is_it = pc.field("image_id") == image_id
    curated = find_rows(work.store, layout.curated_table(sample.shard), is_it)
    group = pc.field("id") == image_id
    removed = find_rows(
        work.store, layout.DUPLICATE_GROUPS, group | (pc.field("kept_id") == image_id)
    )
    kept = [(r["kept_shard"], r["kept_position"]) for r in removed if r["id"] == image_id]
    stands_for = [row for row in removed if row["id"] != image_id]
    cell = _cell(work, sample)
    return Explanation(
        sample=sample,
        curated=curated[0] if curated else None,
        kept=kept[0] if kept else None,
        stands_for=sorted(stands_for, key=lambda row: (-row["cosine"], row["id"])),
        cell=cell,
        neighbours=_neighbours(work, sample, cell) if cell else None,
        stale=_stale(work, sample.shard, cell),
    )


def _cell(work: Work, sample: Sample) -> Cell | None:
    entry = work.entry(CLUSTER_ASSIGNMENTS, sample.shard)
    where = pc.field("position") == sample.address[1]
    rows = find_rows(work.store, layout.assignments(sample.shard), where)
    if entry is None or not rows:
        return None
    row, n_cells = rows[0], int(entry.state["n_clusters"])
    group_of = cell_group_of(n_cells, work.settings.clusters.n_cell_groups)
    # a pair falls to the home of one of its images, which the other visits if it lives elsewhere
    groups = sorted({int(group_of[cell]) for cell in (row["cell"], *row["visits"])})
    return Cell(
        number=row["cell"],
        n_cells=n_cells,
        centroid_cosine=row["centroid_cosine"],
        visits=tuple(row["visits"]),
        groups=tuple(f"{group:04d}" for group in groups),
    )


def _neighbours(work: Work, sample: Sample, cell: Cell) -> Neighbours:
    """Its stored pairs; those of an image with the very same embedding are its own as well."""
    mine = sample.address
    pairs = list(_pairs(work.store, cell.groups, mine))
    first = {a for a, b, _, identical in pairs if identical and b == mine}
    for address in first:
        pairs += _pairs(work.store, cell.groups, address)
    cosines = dict[Address, float]()
    for a, b, cosine, _ in pairs:
        other = b if a == mine or a in first else a
        cosines[other] = max(cosine, cosines.get(other, cosine))
    cosines |= dict.fromkeys(first, 1.0)
    cosines.pop(mine, None)
    order = sorted(cosines, key=lambda address: (-cosines[address], address))
    dense = [
        find_rows(work.store, layout.dense_members(group), _at(address, ""))
        for group in cell.groups
        for address in (mine, *first)
    ]
    nearest = _named(work.store, {address: cosines[address] for address in order[:MAX_NEIGHBOURS]})
    return Neighbours(len(order), nearest, is_dense=any(dense))


def _pairs(
    store: Store, groups: Iterable[str], address: Address
) -> Iterable[tuple[Address, Address, float, bool]]:
    where = _at(address, "_a") | _at(address, "_b")
    for group in groups:
        for row in find_rows(store, layout.pairs(group), where):
            a, b = (row["shard_a"], row["position_a"]), (row["shard_b"], row["position_b"])
            yield a, b, row["cosine"], row["identical"]


def _at(address: Address, side: str) -> pc.Expression:
    shard, position = address
    return (pc.field(f"shard{side}") == shard) & (pc.field(f"position{side}") == position)


def _named(store: Store, cosines: dict[Address, float]) -> list[Neighbour]:
    """The neighbours with their ids and verdicts; a removed shard's are left out."""
    by_shard, found = defaultdict[str, list[int]](list), dict[Address, tuple[str, str]]()
    for shard, position in cosines:
        by_shard[shard].append(position)
    for shard, positions in by_shard.items():
        there = pc.field("position").isin(positions)
        ids = find_rows(store, layout.embeddings(shard), there, ["image_id", "position"])
        is_one = pc.field("image_id").isin([row["image_id"] for row in ids])
        curated = find_rows(store, layout.curated_table(shard), is_one, ["image_id", "verdict"])
        verdicts = {row["image_id"]: row["verdict"] for row in curated}
        for row in ids:
            name = row["image_id"]
            found[shard, row["position"]] = name, verdicts.get(name, "not curated yet")
    return [
        Neighbour(address, cosine, *found[address])
        for address, cosine in cosines.items()
        if address in found
    ]


def _stale(work: Work, shard: str, cell: Cell | None) -> dict[str, str]:
    """Of this shard's partitions, and of the settings of what all shards share."""
    rests_on = ancestors(DEDUPLICATED_SHARDS) | {DEDUPLICATED_SHARDS}
    found = {TAR_SHARDS.name: stale_tar(work, shard)}
    for stage in GRAPH.stages:
        if stage not in rests_on:
            continue
        match stage.by:
            case Partitioning.SHARD:
                found[stage.name] = _stale_partition(work, stage, shard)
            case Partitioning.CELL_GROUP:
                others = [why_other_code(stage, work, g) for g in (cell.groups if cell else ())]
                found[stage.name] = next(filter(None, others), None)
            case Partitioning.WHOLE:
                found[stage.name] = why_other_code(stage, work, ALL)
    return {asset: why for asset, why in found.items() if why}


def _stale_partition(work: Work, stage: Stage, shard: str) -> str | None:
    examined = examine(stage, work, [shard])
    if examined.failed:
        return examined.failed[0].error
    return (examined.stale | examined.undecided).get(shard)
