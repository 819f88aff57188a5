"""Removals that come shard by shard: the same numbers and draws, however they are cut."""

from collections import Counter, defaultdict

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from curator_assets.kernels.draws import draw_numbers
from curator_assets.report.numbers import duplicate_spread, removal_frames
from curator_assets.report.numbers import group_members as groups_module
from curator_assets.report.numbers.cosine_bands import band_of, make_bands
from curator_assets.report.numbers.drawn_pairs import DrawnPairs
from curator_assets.report.numbers.duplicate_spread import GroupSizes, ShardPairs
from curator_assets.report.numbers.group_members import N_MEMBERS, group_members, largest_groups
from curator_assets.report.numbers.marked_pairs import Mark
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.pair_tables import RowNumbers

SHARDS = {"z/0": 40, "a/1": 5, "b/2": 30, "b/3": 25}
NUMBERS = RowNumbers(SHARDS)
BANDS = make_bands(0.02, 0.04)
SEED = 3


def removed(seed: int, n: int, least: float) -> list[dict]:
    """Rows of `duplicate_groups`, in order; none of the shard a/1 are removed."""
    rng, rows = np.random.default_rng(seed), []
    shards = list(SHARDS)
    for row in sorted(rng.choice(NUMBERS.n_rows, n, replace=False).tolist()):
        shard = max(s for s in range(4) if NUMBERS.starts[s] <= row)
        kept = int(rng.choice([1, 42, 47, 60, 61, rng.integers(100)]))
        kept_shard = max(s for s in range(4) if NUMBERS.starts[s] <= kept)
        if shards[shard] == "a/1":
            continue
        rows.append(
            {
                "shard": shards[shard],
                "position": row - int(NUMBERS.starts[shard]),
                "id": f"i{row:03d}",
                "kept_id": f"i{kept:03d}",
                "cosine": float(np.float32(rng.choice([1.0, 0.99, rng.uniform(least, 1)]))),
                "kept_shard": shards[kept_shard],
                "kept_position": kept - int(NUMBERS.starts[kept_shard]),
            }
        )
    return rows


GROUPS, BEYOND = removed(0, 50, 0.98), removed(1, 70, 0.96)


def stream(rows: list[dict]):
    """The rows by shard; each part holds the names of all shards, as a row group may."""
    table = pa.Table.from_pylist(rows, schema=schemas.DUPLICATE_GROUPS)
    for shard in dict.fromkeys(row["shard"] for row in rows):
        yield shard, table.filter(pa.compute.field("shard") == shard)


def frames(rows=GROUPS):
    return list(removal_frames.removal_frames(stream(rows), NUMBERS))


@pytest.fixture(params=[1, 30, 10_000])
def frame_rows(request, monkeypatch):
    monkeypatch.setattr(removal_frames, "_FRAME_ROWS", request.param)


def banded() -> list[pl.DataFrame]:
    at = {"bands": BANDS, "eps": 0.02, "seed": SEED}
    return list(removal_frames.banded_frames(stream(GROUPS), stream(BEYOND), NUMBERS, **at))


def expected_pairs() -> list[dict]:
    ids = {row["id"] for row in GROUPS}
    least = np.float32(0.98)
    others = [r for r in BEYOND if np.float32(r["cosine"]) < least and r["id"] not in ids]
    assert 5 < len(others) < sum(np.float32(row["cosine"]) < least for row in BEYOND)
    return [r | {"removed": True} for r in GROUPS] + [r | {"removed": False} for r in others]


def test_pairs_beyond_eps_are_those_that_eps_does_not_remove(frame_rows):
    found = pl.concat(banded()).sort("removed", "id", descending=[True, False]).to_dicts()
    expected = expected_pairs()
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    cosines = np.array([row["cosine"] for row in found], np.float32)
    assert [row["band"] for row in found] == band_of(cosines, BANDS).tolist()
    for row in found:
        start = NUMBERS.rows_of(row["kept_shard"]).start
        assert row["kept_row"] == start + row["kept_position"]


def test_draws_are_those_of_all_pairs_of_a_band_together(frame_rows):
    marks = [Mark(row["id"], row["kept_id"], 1.0, True) for row in GROUPS[::3]]
    few, unmarked = DrawnPairs(4), DrawnPairs(6, marks)
    for frame in banded():
        few.add(frame)
        unmarked.add(frame)
    cosines = np.array([row["cosine"] for row in expected_pairs()], np.float32)
    by_band = defaultdict(list)
    for row, band in zip(expected_pairs(), band_of(cosines, BANDS).tolist(), strict=True):
        by_band[band].append(row)
    for drawn, n, without in ((few, 4, set()), (unmarked, 6, {mark.image_id for mark in marks})):
        expected = []
        for band in sorted(by_band):
            left = [row for row in by_band[band] if row["id"] not in without]
            names = (f"{row['id']}\n{row['kept_id']}" for row in left)
            order = np.argsort(draw_numbers(names, seed=SEED))
            expected += [left[i]["id"] for i in order[:n]]
        assert drawn.table["id"].to_list() == expected
        assert drawn.table["band"].n_unique() > 3


def test_group_sizes_and_the_largest_groups_with_their_members(frame_rows, monkeypatch):
    sizes = GroupSizes(NUMBERS.n_rows)
    for frame in frames():
        sizes.add(frame)
    counts = Counter(row["kept_id"] for row in GROUPS)
    by_size = Counter(n + 1 for n in counts.values())
    assert dict(sizes.table.iter_rows()) == by_size
    assert sizes.table["size"].is_sorted()
    expected = sorted(((k, n + 1) for k, n in counts.items()), key=lambda g: (-g[1], g[0]))[:6]
    assert largest_groups(frames(), sizes) == [group for group in expected if group[1] > 2]
    monkeypatch.setattr(groups_module, "_LEAST", 2)
    largest = largest_groups(frames(), sizes)
    assert largest == expected
    assert by_size[expected[-1][1]] > 1  # ties are decided by the id
    members = group_members(frames(), [kept_id for kept_id, _ in largest])
    assert set(members) == {kept_id for kept_id, _ in largest}
    for kept_id, found in members.items():
        mine = [row for row in GROUPS if row["kept_id"] == kept_id]
        mine.sort(key=lambda row: (row["cosine"], row["id"]))
        assert [row["id"] for row in found] == [row["id"] for row in mine[:N_MEMBERS]]


def test_pairs_of_shards_are_counted_also_those_that_the_table_leaves_out(frame_rows, monkeypatch):
    monkeypatch.setattr(duplicate_spread, "MAX_SHARD_PAIRS", 3)
    counted = ShardPairs()
    for frame in frames():
        counted.add(frame)
    pairs = Counter((row["shard"], row["kept_shard"]) for row in GROUPS)
    assert counted.n_duplicates == len(GROUPS)
    assert counted.n_pairs == len(pairs) > 6
    assert counted.n_within == sum(row["shard"] == row["kept_shard"] for row in GROUPS)
    most = sorted(((*key, n) for key, n in pairs.items()), key=lambda p: (-p[2], p[0], p[1]))
    assert list(counted.table.iter_rows()) == most[:3]


def test_no_removals_give_empty_tables():
    assert banded_of_nothing() == []
    sizes = GroupSizes(10)
    assert len(sizes.table) == 0
    assert largest_groups([], sizes) == []
    assert group_members([], ["a"]) == {}
    assert len(DrawnPairs(3).table) == len(ShardPairs().table) == 0


def banded_of_nothing():
    at = {"bands": BANDS, "eps": 0.02, "seed": SEED}
    return list(removal_frames.banded_frames(iter(()), iter(()), NUMBERS, **at))


def test_shards_out_of_order_are_refused():
    parts = list(stream(GROUPS))[::-1]
    with pytest.raises(ValueError, match="'b/2' come after those of a shard that came later"):
        list(removal_frames.removal_frames(parts, NUMBERS))
