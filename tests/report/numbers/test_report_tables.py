"""Every number of the report, against a plain recomputation from the Parquet files."""

import json
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

F32 = np.float32


@pytest.fixture(scope="module")
def data(finished):
    """The stored tables as plain Python, and the report's own."""
    rows = {row["image_id"]: row for row in finished.table("embeddings/**/*.parquet").to_dicts()}
    for row in finished.table("shards/**/*.parquet").to_dicts():
        rows[row["image_id"]] = row | {
            name: rows[row["image_id"]][name]
            for name in ("shard", "position", "format", "content_hash", "n_bytes", "error")
        }
    for row in finished.table("clusters/assignments/**/*.parquet").to_dicts():
        rows[row["image_id"]]["cell"] = row["cell"]
    report = finished.folder / "curated/report"
    tables = {path.stem: pl.read_parquet(path) for path in (report / "tables").glob("*.parquet")}
    return SimpleNamespace(
        settings=finished.settings,
        shards=finished.shards(),
        rows=rows,
        readable=[row for row in rows.values() if row["verdict"] != "unreadable"],
        groups=finished.table("duplicates/groups.parquet").to_dicts(),
        pairs=finished.table("duplicates/pairs/*.parquet").to_dicts(),
        centroids=np.load(finished.folder / "curated/clusters/centroids.npy"),
        tables={name: table.to_dicts() for name, table in tables.items()},
        summary=json.loads((report / "summary.json").read_text()),
        page=(report / "index.html").read_text(),
    )


def shown(data, *numbers: int) -> None:
    for number in numbers:
        assert f"<td>{number:,}</td>" in data.page, number


def test_the_project_has_something_of_everything(data):
    verdicts = Counter(row["verdict"] for row in data.rows.values())
    assert set(verdicts) == {"kept", "duplicate", "filtered", "unreadable"}
    assert len({row["reason"] for row in data.rows.values() if row["verdict"] == "filtered"}) == 2
    assert len(data.pairs) > len(data.groups) > 5


def test_funnel(data):
    expected = defaultdict(lambda: [0, 0])
    for row in data.rows.values():
        reason = None if row["verdict"] == "duplicate" else row["reason"]
        for key in ((row["verdict"], reason), ("read", None)):
            expected[key][0] += 1
            expected[key][1] += row["n_bytes"]
    found = {
        (row["verdict"], row["reason"]): [row["n_images"], row["n_bytes"]]
        for row in data.tables["funnel"]
    }
    assert found == dict(expected)
    assert next(iter(data.tables["funnel"]))["verdict"] == "read"
    for n_images, n_bytes in found.values():
        shown(data, n_images)
        assert f'title="{n_bytes:,} bytes"' in data.page


def test_summary(data):
    verdicts = Counter(row["verdict"] for row in data.rows.values())
    bytes_kept = sum(r["n_bytes"] for r in data.rows.values() if r["verdict"] == "kept")
    sizes = Counter(row["kept_id"] for row in data.groups)
    same = sum(
        data.rows[row["id"]]["shard"] == data.rows[row["kept_id"]]["shard"] for row in data.groups
    )
    kept_by_shard = Counter(r["shard"] for r in data.rows.values() if r["verdict"] == "kept")
    expected = {
        "n_samples": len(data.rows),
        "n_unreadable": verdicts["unreadable"],
        "n_filtered": verdicts["filtered"],
        "n_duplicates": verdicts["duplicate"],
        "n_kept": verdicts["kept"],
        "n_bytes": sum(row["n_bytes"] for row in data.rows.values()),
        "n_bytes_kept": bytes_kept,
        "n_shards": len(data.shards),
        "n_shards_without_tar": sum(not kept_by_shard[shard] for shard in data.shards),
        "n_not_taken": 0,
        "left_out": {},
        "n_unseen_images": 0,
        "n_groups": len(sizes),
        "largest_group": max(sizes.values()) + 1,
        "n_within_shards": same,
        "n_marked": 0,
        "n_marks_left_out": 0,
        "recommended_eps": None,
        "recommended_eps_low": None,
        "recommended_eps_high": None,
        "recommended_by": "none",
        "settings": data.settings.model_dump(mode="json"),
    }
    assert {name: data.summary[name] for name in expected} == expected
    assert set(data.summary) - set(expected) == {"dropped"}
    dropped = Counter(
        "duplicate" if row["verdict"] == "duplicate" else f"{row['verdict']}: {row['reason']}"
        for row in data.rows.values()
        if row["verdict"] != "kept"
    )
    assert data.summary["dropped"] == dict(dropped)
    assert list(data.summary["dropped"].values()) == sorted(dropped.values(), reverse=True)


def test_histograms(data):
    by_score = defaultdict(list)
    for row in data.tables["histograms"]:
        by_score[row["score"]].append(row)
    assert list(by_score) == ["mean_luminance", "width", "beauty"]
    for score, bins in by_score.items():
        values = [row[score] for row in data.readable]
        assert (bins[0]["bin_start"], bins[-1]["bin_end"]) == (min(values), max(values))
        assert sum(row["n_images"] for row in bins) == len(values)
        for i, row in enumerate(bins):
            last = i == len(bins) - 1
            assert last or row["bin_end"] == bins[i + 1]["bin_start"]
            start, end = row["bin_start"], row["bin_end"]
            inside = [v for v in values if start <= v < end or (last and v == end)]
            assert row["n_images"] == len(inside), (score, row)


def test_thresholds(data):
    chosen = set()
    for row in data.tables["thresholds"]:
        values = [sample[row["score"]] for sample in data.readable]
        bound, is_min = row["threshold"], row["side"] == "min"
        n_kept = sum(value >= bound if is_min else value <= bound for value in values)
        assert (row["n_kept"], row["kept_fraction"]) == (n_kept, n_kept / len(values)), row
        shown(data, n_kept)
        assert f"<td>{100 * n_kept / len(values):.2f} %</td>" in data.page
        chosen |= {(row["score"], row["side"], bound)} if row["chosen"] else set()
    assert chosen == {
        ("mean_luminance", "min", 0.25),
        ("mean_luminance", "max", 0.8),
        ("width", "min", 200),
    }
    sides = {(row["score"], row["side"]) for row in data.tables["thresholds"]}
    assert sides == {(score, side) for score, side, _ in chosen} | {
        ("beauty", "min"),
        ("beauty", "max"),
    }


def resolved(data, eps: float) -> dict[str, tuple[str, float]]:
    """Removed id -> the kept one and their cosine: the greedy rule, `keep: first`, by loops."""
    arrival = {shard: i for i, shard in enumerate(data.shards)}
    samples = sorted(data.rows.values(), key=lambda r: (arrival[r["shard"]], r["position"]))
    alive = [row["image_id"] for row in samples if row["verdict"] in ("kept", "duplicate")]
    by_place = {(row["shard"], row["position"]): row["image_id"] for row in samples}
    leader = {row["image_id"]: row["image_id"] for row in samples}

    def find(image_id: str) -> str:
        while leader[image_id] != image_id:
            image_id = leader[image_id]
        return image_id

    ends = [
        (by_place[p["shard_a"], p["position_a"]], by_place[p["shard_b"], p["position_b"]], p)
        for p in data.pairs
    ]
    by_content = {}
    same = [(a, b) for a, b, pair in ends if pair["identical"]]
    for row in samples:
        first = by_content.setdefault(row["content_hash"], row["image_id"])
        same.append((row["image_id"], first))
    for a, b in same:
        leader[find(a)] = find(b)
    near = defaultdict(dict)
    for a, b, pair in ends:
        one, other = find(a), find(b)
        if F32(pair["cosine"]) >= F32(1 - eps) and one != other:
            for x, y in ((one, other), (other, one)):
                near[x][y] = max(near[x].get(y, 0), pair["cosine"])
    group_first, stands, removed = {}, {}, {}
    for image_id in alive:
        group = find(image_id)
        if group in stands:  # a copy of an earlier one
            kept, cosine = stands[group]
            removed[image_id] = (kept, cosine if kept != group_first[group] else 1.0)
            continue
        group_first[group] = image_id
        kept_near = [
            (cosine, other)
            for other, cosine in near[group].items()
            if other in stands and stands[other][0] == group_first[other]
        ]
        if kept_near:
            cosine, other = max(kept_near, key=lambda c: (c[0], -alive.index(group_first[c[1]])))
            stands[group] = removed[image_id] = (group_first[other], cosine)
        else:
            stands[group] = (image_id, 1.0)
    return removed


def test_eps_curve(data):
    curve = data.tables["eps_curve"]
    n_alive = sum(row["verdict"] in ("kept", "duplicate") for row in data.rows.values())
    assert [row["eps"] for row in curve] == sorted({row["eps"] for row in curve})
    assert {0.0, 0.01, 0.03} <= {row["eps"] for row in curve}
    assert 7 <= len(curve) <= 16
    for row in curve:
        n_removed = len(resolved(data, row["eps"]))
        assert (row["n_removed"], row["removed_fraction"]) == (n_removed, n_removed / n_alive)
        shown(data, n_removed)
    at_eps = next(row for row in curve if row["eps"] == 0.01)
    assert at_eps["n_removed"] == len(data.groups) == data.summary["n_duplicates"]
    assert curve[-1]["n_removed"] > at_eps["n_removed"] > curve[0]["n_removed"] > 0
    groups = {row["id"]: (row["kept_id"], row["cosine"]) for row in data.groups}
    assert groups == resolved(data, 0.01)


def test_bands(data):
    groups = {row["id"]: row["cosine"] for row in data.groups}
    farther = {
        image_id: cosine
        for image_id, (_, cosine) in resolved(data, 0.03).items()
        if image_id not in groups and F32(cosine) < F32(0.99)
    }
    cosines = [*groups.values(), *farther.values()]
    bands = data.tables["precision"]
    assert [row["eps_to"] for row in bands] == [0, 0.0025, 0.005, 0.0075, 0.01, 0.02, 0.03]
    for row in bands:
        least, most = F32(1 - row["eps_to"]), F32(1 - row["eps_from"])
        inside = [c for c in cosines if least <= F32(c) < most or (row["eps_to"] == 0 and c == 1)]
        assert row["n_pairs"] == len(inside), row
        shown(data, len(inside))
    assert sum(row["n_pairs"] for row in bands) == len(cosines) > len(groups)


def test_groups_and_where_their_images_lie(data):
    sizes = Counter(Counter(row["kept_id"] for row in data.groups).values())
    expected = [{"size": n + 1, "n_groups": count} for n, count in sorted(sizes.items())]
    assert data.tables["group_sizes"] == expected
    pairs = Counter(
        (data.rows[row["id"]]["shard"], data.rows[row["kept_id"]]["shard"]) for row in data.groups
    )
    found = {(r["shard"], r["kept_shard"]): r["n_duplicates"] for r in data.tables["shard_pairs"]}
    assert found == dict(pairs)
    shown(data, *pairs.values(), *sizes.values())


COLUMNS = {
    "n_unreadable": "unreadable",
    "n_filtered": "filtered",
    "n_duplicates": "duplicate",
    "n_kept": "kept",
}


def counted(rows: list[dict]) -> dict[str, int]:
    kept = [row for row in rows if row["verdict"] == "kept"]
    return {
        "n_images": len(rows),
        **{name: sum(r["verdict"] == verdict for r in rows) for name, verdict in COLUMNS.items()},
        "n_bytes": sum(row["n_bytes"] for row in rows),
        "n_bytes_kept": sum(row["n_bytes"] for row in kept),
    }


def size_class(row: dict) -> str:
    if row["width"] is None:
        return "unknown"
    pixels = row["width"] * row["height"]
    for least, name in ((2e6, "> 2 MP"), (5e5, "0.5-2 MP"), (1e5, "0.1-0.5 MP")):
        if pixels >= least:
            return name
    return "< 0.1 MP"


def test_rates(data):
    expected = defaultdict(list)
    for row in data.rows.values():
        expected["format", row["format"] or "unknown"].append(row)
        expected["size", size_class(row)].append(row)
        expected["folder", row["shard"].rpartition("/")[0]].append(row)
    found = {(row.pop("by"), row.pop("value")): row for row in map(dict, data.tables["rates"])}
    assert found == {key: counted(rows) for key, rows in expected.items()}
    for row in found.values():
        shown(data, *(row[name] for name in ("n_images", *COLUMNS)))


def test_shards(data):
    by_shard = defaultdict(list)
    for row in data.rows.values():
        by_shard[row["shard"]].append(row)
    found = {row.pop("shard"): row for row in map(dict, data.tables["shards"])}
    assert found == {shard: counted(rows) for shard, rows in by_shard.items()}


def test_clusters(data):
    by_cell = defaultdict(list)
    for row in data.rows.values():
        if "cell" in row:
            by_cell[row["cell"]].append(row)
    table = data.tables["cells"]
    assert [row["cell"] for row in table] == list(range(len(data.centroids)))
    for row in table:
        expected = counted(by_cell[row["cell"]])
        assert {name: row[name] for name in expected} == expected
    centred = data.centroids - data.centroids.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    places = np.array([[row["x"], row["y"]] for row in table])
    np.testing.assert_allclose(np.abs(places), np.abs(left[:, :2] * scale[:2]), atol=1e-5)
