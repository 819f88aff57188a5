"""The resolution of stored tables is the rule as it is said, by every policy."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from resolved import Resolution, easy_order, random_order, resolve_plainly

from curator_assets.defs.deduplicate.resolver import Resolver
from curator_assets.defs.deduplicate.stored_pairs import SharedIdError, StoredPairs
from curator_assets.kernels import nodes, sorted_runs
from curator_assets.kernels.found_pairs import DenseMembers, Pairs
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import groups, schemas
from curator_assets.storage.tables.groups import (
    StoredRemovals,
    read_removals,
    removals_version,
    written_groups,
)
from curator_assets.storage.tables.pair_tables import RowNumbers, dense_table, pair_table
from curator_assets.storage.tables.parquet import embedding_column, read_table, write_table

SHARDS = {"b": 40, "a/none": 0, "a": 1, "c/ü": 59}
GROUPS = ["0000", "0001"]
N = sum(SHARDS.values())


@dataclass(frozen=True)
class Project:
    """Tables as they are stored, and what is in them."""

    store: Store
    ids: list[str]
    columns: dict[str, np.ndarray]
    cell: np.ndarray
    distance: np.ndarray
    pairs: Pairs
    readable: np.ndarray

    def settings(self, **duplicates) -> Settings:
        return Settings.model_validate(
            {
                "source": "in",
                "output": self.store.root,
                "filters": [{"score": "sharpness", "min": 0.1}],
                "duplicates": {"eps": 0.03, "max_eps": 0.1, **duplicates},
            }
        )

    def stored(self) -> StoredPairs:
        return StoredPairs(self.store, SHARDS, GROUPS)

    def order(self, settings) -> np.ndarray:
        chosen = settings.duplicates
        distance = np.where(self.readable, self.distance, np.inf)
        match chosen.keep:
            case "first":
                return np.arange(N)
            case "best":
                pixels = self.columns["width"] * self.columns["height"]
                values = [-self.columns[name] for name in reversed(chosen.best_by)]
                return np.lexsort((np.arange(N), -pixels, *values))
            case "random":
                return random_order(self.ids, seed=chosen.seed)
            case keep:
                return easy_order(distance, self.ids, is_descending=keep == "hard")

    def plainly(self, settings, eps) -> Resolution:
        pairs, is_greedy = self.pairs, settings.duplicates.rule == "greedy"
        chosen = np.ones(len(pairs.a), bool) | is_greedy
        if not is_greedy:
            chosen = self.cell[pairs.a] == self.cell[pairs.b]
        identical = chosen & pairs.identical
        copies = list(zip(pairs.a[identical], pairs.b[identical], strict=True))
        if is_greedy:
            firsts = {}
            content = self.columns["content_hash"].tolist()
            copies += [(firsts.setdefault(hash_, row), row) for row, hash_ in enumerate(content)]
        return resolve_plainly(
            pairs,
            copies=copies,
            chosen=chosen,
            alive=self.readable & (self.columns["sharpness"] >= np.float32(0.1)),
            order=self.order(settings),
            min_cosine=1 - eps,
            is_greedy=is_greedy,
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    store, rng = Store(str(tmp_path_factory.mktemp("resolver"))), np.random.default_rng(0)
    numbers = RowNumbers(SHARDS)
    ids = [f"{shard}/{k:02d}" for shard, n in SHARDS.items() for k in range(n)]
    readable = rng.random(N) > 0.05
    columns = {
        "width": rng.integers(1, 4, size=N),
        "height": rng.integers(1, 4, size=N),
        "sharpness": rng.choice([0.0, 0.2, 0.5, 0.75], size=N).astype(np.float32),
        "content_hash": np.array([f"{k:032x}" for k in rng.integers(70, size=N)]),
    }
    cell, cosine = rng.integers(3, size=N), rng.choice([0.5, 0.75, 0.875], size=N)
    for shard in SHARDS:
        rows = numbers.rows_of(shard)
        write_shard(store, shard, ids[rows], readable[rows], columns, rows, cell, cosine)
    a, b = np.sort(np.where(readable)[0][rng.integers(readable.sum(), size=(2, 160))], axis=0)
    identical = rng.random(160) < 0.1
    value = np.where(identical, 1, rng.choice([0.92, 0.96, 0.975, 0.98], size=160))
    kept = a < b
    pairs = Pairs(a[kept], b[kept], value[kept].astype(np.float32), identical[kept])
    for number, group in enumerate(GROUPS):
        mine = np.flatnonzero(np.arange(len(pairs.a)) % 2 == number)
        part = Pairs(pairs.a[mine], pairs.b[mine], pairs.cosine[mine], pairs.identical[mine])
        table = pair_table(part, np.zeros(len(mine), np.int32), numbers)
        write_table(store, layout.pairs(group), table, schemas.PAIRS)
        none = dense_table(part.dense, numbers)
        write_table(store, layout.dense_members(group), none, schemas.DENSE_MEMBERS)
    return Project(store, ids, columns, cell, 1 - cosine.astype(np.float32), pairs, readable)


def write_shard(store, shard, ids, readable, columns, rows, cell, cosine, vectors=None):
    n, schema = len(ids), schemas.embeddings(2, "float32")
    mine = {name: pa.array(values[rows]) for name, values in columns.items()}
    table = {field.name: pa.nulls(n, field.type) for field in schema} | mine
    table |= {
        "image_id": pa.array(ids, pa.string()),
        "shard": pa.array([shard] * n, pa.string()),
        "key": pa.array([name[-2:] for name in ids], pa.string()),
        "position": pa.array(np.arange(n, dtype=np.int32)),
        "n_images": pa.array(np.ones(n, np.int32)),
        "n_bytes": pa.array(np.ones(n, np.int64)),
        "error": pa.array(np.full(n, "truncated"), pa.string(), mask=readable),
    }
    if vectors is not None:
        table["embedding"] = embedding_column(vectors, np.arange(n), n, "float32")
    write_table(store, layout.embeddings(shard), pa.table(table), schema)
    at = np.flatnonzero(readable)
    cells = {
        "image_id": pa.array([ids[k] for k in at], pa.string()),
        "shard": pa.array([shard] * len(at), pa.string()),
        "position": at.astype(np.int32),
        "cell": cell[rows][at].astype(np.int32),
        "centroid_cosine": cosine[rows][at].astype(np.float32),
        "visits": pa.array([[]] * len(at), pa.list_(pa.int32())),
    }
    write_table(store, layout.assignments(shard), pa.table(cells), schemas.ASSIGNMENTS)


POLICIES = [
    {"keep": "first"},
    {"keep": "best", "best_by": ["sharpness"]},
    {"keep": "hard"},
    {"keep": "easy"},
    {"keep": "random", "seed": 3},
]


@pytest.mark.parametrize("run_bytes", [300, 2**25])
@pytest.mark.parametrize("rule", ["greedy", "semdedup"])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy["keep"])
def test_every_policy_and_rule_as_it_is_said(project, monkeypatch, policy, rule, run_bytes):
    monkeypatch.setattr(sorted_runs, "RUN_BYTES", run_bytes)
    monkeypatch.setattr(sorted_runs, "_N_MARKS", 4)
    monkeypatch.setattr(nodes, "_MAX_NARROW", 0 if run_bytes == 300 else 2**32 - 1)
    settings = project.settings(rule=rule, **policy)
    resolver = Resolver(project.stored(), settings)
    for eps in (0.1, 0.03):
        expected = project.plainly(settings, eps)
        assert resolver.n_removed(eps) == expected.removed.sum() > 10
        assert_named(project, resolver.removals(eps), expected)
    grid = [0.0, 0.022, 0.03, 0.06, 0.1]
    assert resolver.n_removed_at(grid) == {eps: resolver.n_removed(eps) for eps in grid}
    assert resolver.n_rows == N
    n_taking_part = (project.readable & (project.columns["sharpness"] > 0.1)).sum()
    assert resolver.n_taking_part == n_taking_part < project.readable.sum()


def assert_named(project, tables, expected):
    """The tables name the removed images, a table a shard in order of arrival."""
    tables = list(tables)
    names = [table["shard"][0].as_py() for table in tables]
    assert names == [shard for shard in SHARDS if shard in names]
    rows = [row for table in tables for row in table.to_pylist()]
    removed = np.flatnonzero(expected.removed)
    starts = RowNumbers(SHARDS)
    place = [starts.rows_of(row["shard"]).start + row["position"] for row in rows]
    assert place == removed.tolist()
    kept = expected.kept_by[removed]
    place = [starts.rows_of(row["kept_shard"]).start + row["kept_position"] for row in rows]
    assert place == kept.tolist()
    assert [row["id"] for row in rows] == [project.ids[k] for k in removed]
    assert [row["kept_id"] for row in rows] == [project.ids[k] for k in kept]
    cosine = np.float32([row["cosine"] for row in rows])
    np.testing.assert_array_equal(cosine, expected.cosine[removed])


def test_counts_of_groups_and_of_orphans(project):
    for rule in ("greedy", "semdedup"):
        settings = project.settings(rule=rule)
        found = Resolver(project.stored(), settings).resolve(0.1)
        expected = project.plainly(settings, 0.1)
        stands = expected.kept_by[expected.removed]
        _, sizes = np.unique(stands, return_counts=True)
        assert (found.n_groups, found.largest_group) == (len(sizes), 1 + sizes.max())
        assert found.n_images == expected.removed.sum()
        assert found.n_orphans == expected.removed[stands].sum()
        assert (found.n_orphans > 0) == (rule == "semdedup")


def test_resolvers_share_what_is_stored_and_an_eps_beyond_is_refused(project):
    stored = project.stored()
    for keep in ("random", "first"):
        settings = project.settings(keep=keep)
        resolver = Resolver(stored, settings, max_eps=0.03)
        assert_named(project, resolver.removals(0.03), project.plainly(settings, 0.03))
    with pytest.raises(ValueError, match=r"eps 0.1 is above 0.03"):
        resolver.n_removed(0.1)


@pytest.mark.parametrize("rows", [3, 2**16])
def test_the_stored_groups_are_read_shard_by_shard(project, monkeypatch, rows):
    monkeypatch.setattr(groups, "_ROW_GROUP_ROWS", rows)
    tables = list(Resolver(project.stored(), project.settings()).removals(0.1))
    with written_groups(project.store) as writer:
        for table in tables:
            writer.append(table)
    whole = read_table(project.store, layout.DUPLICATE_GROUPS)
    assert whole.to_pylist() == [row for table in tables for row in table.to_pylist()]
    found, one = list(read_removals(project.store)), StoredRemovals(project.store)
    assert [shard for shard, _ in found] == [table["shard"][0].as_py() for table in tables]
    for (shard, removed), table in zip(found, tables, strict=True):
        assert removed.to_pylist() == table.to_pylist() == one.of(shard).to_pylist()
        assert removals_version(removed) == removals_version(table)
    assert len(one.of("a/none")) == 0
    versions = {removals_version(table) for table in (*tables, one.of("a/none"))}
    assert len(versions) == 1 + len(tables)


def test_nothing_is_removed_of_nothing(tmp_path):
    store = Store(str(tmp_path))
    settings = Settings(source="in", output=str(tmp_path))
    resolver = Resolver(StoredPairs(store, {}, []), settings)
    assert resolver.n_removed_at([0.0, 0.01]) == {0.0: 0, 0.01: 0}
    assert (resolver.n_removed(0.01), list(resolver.removals(0.01))) == (0, [])
    with written_groups(store):
        pass
    assert list(read_removals(store)) == []


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (["s/1", "s/2", "s/1"], SharedIdError, "two samples with the image_id 's/1'"),
        (["s/1", "t/2", "s/3"], ValueError, "an image_id that is not 's/<key>'"),
        (["s/1", "s/2"], ValueError, "3 samples were recorded, but its embeddings are of 2"),
    ],
)
def test_ids_that_are_not_each_their_own_are_refused(tmp_path, ids, error, message):
    store, n = Store(str(tmp_path)), len(ids)
    columns = {"content_hash": np.array(["0" * 32] * n)}
    everyone, numbers = np.ones(n, bool), np.ones(n)
    write_shard(store, "s", ids, everyone, columns, slice(0, n), numbers, numbers)
    resolver = Resolver(StoredPairs(store, {"s": 3}, []), Settings(source="in", output="out"))
    with pytest.raises(error, match=message):
        resolver.n_removed(0.01)


@pytest.mark.parametrize("rule", ["greedy", "semdedup"])
def test_pairs_of_a_dense_clump_are_computed_from_the_stored_vectors(tmp_path, rule):
    store, n = Store(str(tmp_path)), 4
    angle = np.deg2rad([0, 10, 20, 90])
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    write_shard(
        store, "s", [f"s/{k}" for k in range(n)], np.ones(n, bool), {}, slice(0, n),
        np.zeros(n), np.ones(n), vectors,
    )  # fmt: skip
    everyone = DenseMembers(np.arange(n), np.zeros(n, np.int32), np.ones(n, bool))
    numbers, none = RowNumbers({"s": n}), schemas.PAIRS.empty_table()
    write_table(store, layout.pairs("0000"), none, schemas.PAIRS)
    dense = dense_table(everyone, numbers)
    write_table(store, layout.dense_members("0000"), dense, schemas.DENSE_MEMBERS)
    settings = Settings.model_validate(
        {
            "source": "in",
            "output": str(tmp_path),
            "model": {"device": "cpu"},
            "duplicates": {"rule": rule, "eps": 0.02, "max_eps": 0.1},
        }
    )
    resolver = Resolver(StoredPairs(store, {"s": n}, ["0000"]), settings)
    (table,) = resolver.removals(0.02)  # 11 degrees
    removed = {"greedy": ["s/1"], "semdedup": ["s/1", "s/2"]}[rule]
    assert table["id"].to_pylist() == removed
    assert resolver.n_removed(0.02) == len(removed)
    assert resolver.n_removed(0.07) == 2
