import pyarrow as pa
import pytest

from curator_assets.defs.filter.sample_rules import filter_reasons, passing_mask, read_samples_table
from curator_assets.defs.output.verdicts import cause, kept_keys, verdict_table
from curator_assets.settings import FilterRule, Settings
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import write_table

WIDE = FilterRule(score="width", min=100)
SQUARE = FilterRule(score="aspect_ratio", min=0.5, max=2)
SETTINGS = Settings(source="in", output="out", filters=(WIDE, SQUARE))

SAMPLES = pa.table(
    {
        "image_id": ["s/4", "s/0", "s/3", "s/1", "s/2"],
        "key": ["4", "0", "3", "1", "2"],
        "width": pa.array([100, 99, 500, 50, None], pa.int32()),
        "aspect_ratio": pa.array([0.5, 1, 1, 9, None], pa.float32()),
        "error": pa.array([None, None, None, None, "truncated"], pa.string()),
    }
)


def duplicates(*rows: tuple[str, str, float]) -> pa.Table:
    names = schemas.DUPLICATE_IDS.names
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(rows, schemas.DUPLICATE_IDS)


# all of them duplicates, but one: what is said first of a sample counts
REMOVED = duplicates(
    ("s/0", "r/7", 0.5), ("s/2", "r/8", 0.25), ("s/3", "r/9", 0.96875), ("t/4", "r/9", 1.0)
)

# image_id, verdict, reason, kept_id, cosine
EXPECTED = [
    ("s/4", "kept", None, None, None),
    ("s/0", "filtered", "width < 100", None, None),
    ("s/3", "duplicate", "cosine 0.9688 to r/9", "r/9", 0.96875),
    ("s/1", "filtered", "width < 100", None, None),
    ("s/2", "unreadable", "truncated", None, None),
]


def test_a_sample_is_unreadable_before_filtered_before_duplicate_before_kept():
    table = verdict_table(SAMPLES, REMOVED, SETTINGS)
    columns = ("image_id", "verdict", "reason", "kept_id", "cosine")
    assert [tuple(row[c] for c in columns) for row in table.to_pylist()] == EXPECTED
    assert table.select(SAMPLES.column_names).equals(SAMPLES)


def test_a_duplicate_that_was_filtered_is_one_where_the_filter_goes():
    without = SETTINGS.model_copy(update={"filters": ()})
    table = verdict_table(SAMPLES, REMOVED, without)
    assert table["verdict"].to_pylist() == ["kept", "duplicate", "duplicate", "kept", "unreadable"]
    assert table["kept_id"].to_pylist() == [None, "r/7", "r/9", None, None]


@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES.slice(0, 0)], ids=["samples", "empty"])
def test_verdicts_have_the_types_of_the_table_that_is_stored(samples):
    table = verdict_table(samples, duplicates(), SETTINGS)
    assert len(table) == len(samples)
    for name in ("verdict", "reason", "kept_id", "cosine"):
        assert table.schema.field(name).type == schemas.curated(()).field(name).type


def test_kept_keys_are_in_the_order_of_the_tar():
    without = SETTINGS.model_copy(update={"filters": ()})
    assert kept_keys(verdict_table(SAMPLES, duplicates(), without)) == ["4", "0", "3", "1"]
    assert kept_keys(verdict_table(SAMPLES, REMOVED, SETTINGS)) == ["4"]
    assert kept_keys(verdict_table(SAMPLES.slice(0, 0), REMOVED, SETTINGS)) == []


@pytest.mark.parametrize(
    ("verdict", "reason", "expected"),
    [
        ("kept", None, "kept"),
        ("duplicate", "cosine 0.9688 to r/9", "duplicate"),
        ("filtered", "width < 100", "filtered: width < 100"),
        ("unreadable", "truncated", "unreadable: truncated"),
    ],
)
def test_a_cause_says_nothing_that_is_of_one_sample_alone(verdict, reason, expected):
    assert cause(verdict, reason) == expected


NARROW, LONG = "width < 100", "aspect_ratio < 0.5 or aspect_ratio > 2"


@pytest.mark.parametrize(
    ("rules", "reasons", "passing"),
    [
        ((), [None, None, None, None, None], [True, True, True, True, False]),
        ((WIDE,), [None, NARROW, None, NARROW, None], [True, False, True, False, False]),
        ((WIDE, SQUARE), [None, NARROW, None, NARROW, None], [True, False, True, False, False]),
        ((SQUARE, WIDE), [None, NARROW, None, LONG, None], [True, False, True, False, False]),
    ],
)
def test_the_first_broken_rule_is_named_and_only_readable_samples_pass(rules, reasons, passing):
    assert filter_reasons(SAMPLES, rules) == reasons
    assert passing_mask(SAMPLES, rules).tolist() == passing


@pytest.fixture
def scored(tmp_path) -> tuple[Store, Settings]:
    """A shard `s` of two samples, and settings with a head of one's own."""
    store = Store(str(tmp_path))
    rows = [
        {
            "image_id": f"s/{i}",
            "shard": "s",
            "key": str(i),
            "position": i,
            "n_images": 1,
            "n_bytes": 10 + i,
        }
        for i in range(2)
    ]
    schema = schemas.embeddings(2, "float32")
    write_table(store, layout.embeddings("s"), pa.Table.from_pylist(rows, schema), schema)
    head = {"weights": "mine.pt", "embedding_model": "ViT-L-14"}
    return store, Settings(source="in", output="out", heads={"mine": head})


def write_scores(store: Store, scores: dict[str, float]) -> None:
    table = pa.table({"image_id": list(scores), "mine": list(scores.values())})
    write_table(store, layout.scores("s"), table, table.schema)


def test_samples_are_read_with_their_scores_and_without_embeddings(scored):
    store, settings = scored
    write_scores(store, {"s/0": 5.0, "s/1": 6.5})
    table = read_samples_table(store, "s", settings)
    assert table["mine"].to_pylist() == [5.0, 6.5]
    assert table["n_bytes"].to_pylist() == [10, 11]
    assert "embedding" not in table.column_names


@pytest.mark.parametrize("ids", [("s/0",), ("s/1", "s/0"), ("s/0", "s/2")])
def test_scores_of_other_samples_are_refused(scored, ids):
    store, settings = scored
    write_scores(store, dict.fromkeys(ids, 5.0))
    with pytest.raises(ValueError, match="shard 's': its scores are of other samples"):
        read_samples_table(store, "s", settings)
    without = settings.model_copy(update={"heads": {}})
    assert "mine" not in read_samples_table(store, "s", without).column_names


def test_true_counts_as_one_and_an_image_without_an_embedding_as_nothing(tmp_path):
    store = Store(str(tmp_path))
    sample = {"shard": "s", "n_images": 1, "n_bytes": 1}
    rows = [
        sample | {"image_id": f"s/{i}", "key": str(i), "position": i, "has_alpha": has_alpha}
        for i, has_alpha in enumerate([True, False, None])
    ]
    rows[2]["error"] = "corrupt"
    schema = schemas.embeddings(2, "float32")
    write_table(store, layout.embeddings("s"), pa.Table.from_pylist(rows, schema), schema)
    rule = FilterRule(score="has_alpha", max=0)
    settings = Settings(source="in", output="out", filters=(rule,))
    table = read_samples_table(store, "s", settings)
    assert table["has_alpha"].to_pylist() == [1, 0, None]
    assert filter_reasons(table, (rule,)) == ["has_alpha > 0", None, None]
    stored = verdict_table(table, duplicates(), settings)["has_alpha"]
    assert stored.type == schemas.curated(("has_alpha",)).field("has_alpha").type


@pytest.mark.parametrize("bound", [1.6, 0.7, 0.1, 1 / 3])
def test_a_bound_keeps_the_stored_value_that_is_written_like_it(bound):
    """1280 x 800 has an aspect ratio of 1.6, which float32 stores as a little more."""
    table = pa.table({"aspect_ratio": pa.array([bound], pa.float32()), "error": [None]})
    for limits in ({"min": bound}, {"max": bound}):
        assert passing_mask(table, (FilterRule(score="aspect_ratio", **limits),)).all()
