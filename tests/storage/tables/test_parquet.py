import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curator_assets.errors import DamagedFileError
from curator_assets.kernels.cells import CellAssignment
from curator_assets.kernels.found_pairs import DenseMembers, Pairs
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.assignments import assignment_table, read_centroids
from curator_assets.storage.tables.pair_tables import (
    RowNumbers,
    dense_table,
    pair_table,
    pairs_of,
)
from curator_assets.storage.tables.parquet import (
    ROW_GROUP_ROWS,
    TableWriter,
    embedding_column,
    embedding_matrix,
    find_rows,
    read_row_groups,
    read_table,
    write_table,
)


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_embeddings_round_trip_with_unreadable_rows_left_out(tmp_path, storage):
    store = Store(str(tmp_path))
    embeddings = np.array([[0.6, 0.8], [0, 1]], np.float32)
    schema = pa.schema([schemas.embeddings(2, storage).field("embedding")])
    column = embedding_column(embeddings, np.array([0, 2]), 4, storage)
    write_table(store, "t.parquet", pa.table({"embedding": column}), schema)
    matrix, rows = embedding_matrix(read_table(store, "t.parquet"))
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, embeddings, atol=0 if storage == "float32" else 5e-4)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    assert rows.tolist() == [0, 2]


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_embeddings_are_stored_byte_by_byte_in_small_row_groups_and_other_columns_as_ever(
    tmp_path, storage
):
    store, n_rows, schema = Store(str(tmp_path)), 2 * ROW_GROUP_ROWS + 5, embeddings_schema(storage)
    vectors = np.random.default_rng(0).normal(size=(n_rows - 2, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.delete(np.arange(n_rows), [3, n_rows - 1])
    table = pa.table(
        {
            "image_id": [f"s/{i}" for i in range(n_rows)],
            "shard": ["s"] * n_rows,
            "embedding": embedding_column(vectors, rows, n_rows, storage),
        }
    )
    for name, n_parts in (("one", 1), ("many", 7)):
        with store.write(name) as file, TableWriter(file, name, schema) as writer:
            for part in np.array_split(np.arange(n_rows), n_parts):
                writer.append(table.slice(part[0], len(part)))
    assert store.read("one") == store.read("many")
    metadata = pq.read_metadata(tmp_path / "one")
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 5]
    columns = {c["path_in_schema"]: c["encodings"] for c in groups[0].to_dict()["columns"]}
    assert "BYTE_STREAM_SPLIT" in columns["embedding.list.element"]
    assert "RLE_DICTIONARY" in columns["shard"]
    parts = [embedding_matrix(part) for part in read_row_groups(store, "one", ["embedding"])]
    expected = table.filter(pc.is_valid(table["embedding"]))["embedding"].combine_chunks()
    found = pa.concat_tables(read_row_groups(store, "one", ["embedding"]))["embedding"]
    assert found.drop_null().combine_chunks().flatten().equals(expected.flatten())
    assert sum(len(matrix) for matrix, _ in parts) == n_rows - 2


def embeddings_schema(storage: str) -> pa.Schema:
    everything = schemas.embeddings(16, storage)
    return pa.schema([everything.field(name) for name in ("image_id", "shard", "embedding")])


def test_no_embedding_at_all_is_an_empty_matrix():
    column = embedding_column(np.zeros((0, 3), np.float32), np.zeros(0, np.int64), 2, "float32")
    matrix, rows = embedding_matrix(pa.table({"embedding": column}))
    assert matrix.shape == (0, 3)
    assert len(rows) == 0


def test_two_writes_give_identical_bytes(tmp_path):
    store = Store(str(tmp_path))
    table = pa.table({"id": ["a", "b"], "kept_id": ["c", "c"], "cosine": [0.5, 1]})
    for name in ("1.parquet", "2.parquet"):
        write_table(store, name, table, schemas.DUPLICATE_IDS)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_a_null_in_a_required_column_is_refused(tmp_path):
    table = pa.table({"id": ["a", None], "kept_id": ["c", "c"], "cosine": [0.5, 1]})
    with pytest.raises(ValueError, match="'id' holds 1 nulls"):
        write_table(Store(str(tmp_path)), "t.parquet", table, schemas.DUPLICATE_IDS)
    assert not list(tmp_path.iterdir())


def assignment() -> CellAssignment:
    return CellAssignment(
        home=np.array([0, 1, 3], np.int32),
        cosine=np.array([0.9, 0.8, 0.7], np.float32),
        visit_offsets=np.array([0, 2, 2, 3]),
        visits=np.array([1, 3, 0], np.int32),
    )


def test_assignments_round_trip(tmp_path):
    store = Store(str(tmp_path))
    samples = pa.table(
        {
            "image_id": list("abcd"),
            "shard": ["s"] * 4,
            "position": pa.array([0, 1, 2, 3], pa.int32()),
        }
    )
    table = assignment_table(samples, np.array([0, 2, 3]), assignment())
    write_table(store, "t.parquet", table, schemas.ASSIGNMENTS)
    loaded = read_table(store, "t.parquet")
    assert loaded["image_id"].to_pylist() == ["a", "c", "d"]
    assert loaded["cell"].to_pylist() == [0, 1, 3]
    assert loaded["centroid_cosine"].to_numpy().tolist() == assignment().cosine.tolist()
    assert loaded["visits"].to_pylist() == [[1, 3], [], [0]]


def test_pairs_round_trip_by_shard_and_position_and_forget_removed_shards(tmp_path):
    store = Store(str(tmp_path))
    numbers = RowNumbers({"late": 2, "empty": 0, "early": 3})
    pairs = Pairs(
        a=np.array([0, 1]),
        b=np.array([1, 4]),
        cosine=np.array([0.99, 1], np.float32),
        identical=np.array([False, True]),
    )
    dense = DenseMembers(np.array([1, 4]), np.array([7, 7], np.int32), np.array([True, False]))
    write_table(
        store, "p.parquet", pair_table(pairs, np.array([7, 0], np.int32), numbers), schemas.PAIRS
    )
    write_table(store, "d.parquet", dense_table(dense, numbers), schemas.DENSE_MEMBERS)
    tables = read_table(store, "p.parquet"), read_table(store, "d.parquet")
    assert tables[0]["shard_b"].to_pylist() == ["late", "early"]
    assert tables[0]["position_b"].to_pylist() == [1, 2]
    back = pairs_of(*tables, numbers)
    assert back.a.tolist() == [0, 1]
    assert back.b.tolist() == [1, 4]
    assert back.dense.row.tolist() == [1, 4]
    fewer = pairs_of(*tables, RowNumbers({"late": 2}))
    assert fewer.b.tolist() == [1]
    assert fewer.dense.row.tolist() == [1]


@pytest.mark.parametrize("location", ["local", "memory://find_rows"])
def test_rows_are_found_wherever_the_table_lies(tmp_path, location):
    store = Store(str(tmp_path) if location == "local" else location)
    table = pa.table({"shard": pa.array(["a", "b", "a"]).dictionary_encode(), "n": [1, 2, 3]})
    write_table(store, "k=v/t.parquet", table, table.schema)
    assert read_table(store, "k=v/t.parquet").equals(table)
    assert read_table(store, "k=v/t.parquet", ["n"]).column_names == ["n"]
    where = (pc.field("shard") == "a") & pc.field("n").isin([2, 3])
    assert find_rows(store, "k=v/t.parquet", where) == [{"shard": "a", "n": 3}]
    assert find_rows(store, "k=v/t.parquet", pc.field("n") == 1, ["n"]) == [{"n": 1}]
    assert find_rows(store, "none.parquet", where) == []
    with pytest.raises(FileNotFoundError):
        read_table(store, "none.parquet")


@pytest.mark.parametrize("location", ["", "memory://damage"])
def test_a_damaged_table_is_named_and_never_read_as_another(tmp_path, location):
    store = Store(location or str(tmp_path))
    rows = pa.table({"id": list("abcd"), "kept_id": list("eeff"), "cosine": [0.5, 0.75, 1, 0]})
    write_table(store, "a/t.parquet", rows, schemas.DUPLICATE_IDS)
    whole, data = read_table(store, "a/t.parquet"), store.read("a/t.parquet")
    n_named = 0
    damaged = [data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :] for i in range(0, len(data), 3)]
    for content in [b"", b"PAR1", data[:-1], data[: len(data) // 2], *damaged]:
        with store.write("a/t.parquet") as file:
            file.write(content)
        try:
            found = read_table(store, "a/t.parquet", ["id", "kept_id", "cosine"])
        except DamagedFileError as error:
            assert error.name == "a/t.parquet"
            assert store.url("a/t.parquet") in str(error)
            n_named += 1
        else:  # of what no reader looks at
            assert found.to_pylist() == whole.to_pylist()
    assert n_named > len(damaged) / 3
    store.remove("a/t.parquet")
    with pytest.raises(FileNotFoundError):
        read_table(store, "a/t.parquet")


def test_centroids_of_other_bytes_are_no_centroids(tmp_path):
    store = Store(str(tmp_path))
    for content in (np.eye(3, dtype=np.float32) * 1.5, np.full((2, 2), np.nan, np.float32)):
        with store.write(layout.CENTROIDS) as file:
            np.save(file, content)
        with pytest.raises(DamagedFileError, match=r"clusters/centroids.npy can't be read"):
            read_centroids(store)
    (tmp_path / layout.CENTROIDS).write_bytes(b"")
    with pytest.raises(DamagedFileError):
        read_centroids(store)
