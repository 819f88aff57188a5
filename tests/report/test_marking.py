import numpy as np
import polars as pl
import pytest

from curator_assets.report.bands import band_of, make_bands
from curator_assets.report.marking import (
    Mark,
    VerdictError,
    csv_to_mark,
    filled_in_place,
    n_needed,
    pairs_to_mark,
    parse_marks,
    precision,
    read_marks,
    recommend,
    verdict_files,
    wilson,
)
from curator_assets.storage.store import Store

HEAD = "image_id,kept_id,cosine,band,verdict\n"
BANDS = make_bands(0.04, 0.06)  # identical, to .01, .02, .03, .04, then to .05 and .06


def marks(*rows: str) -> list[Mark]:
    return [mark for _, mark in parse_marks(HEAD + "\n".join(rows), "verdicts.csv")]


def test_words_for_a_verdict_and_rows_without_one():
    rows = [f"a{i},b,0.99,,{word}" for i, word in enumerate(["Duplicate", "YES", "y", " n ", "no"])]
    found = marks(*rows, "a5,b,0.99,,different", "a6,b,0.99,,", "a7,b,0.99,,  ")
    assert [m.is_duplicate for m in found] == [True, True, True, False, False, False]
    assert found[0] == Mark("a0", "b", 0.99, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "a,b,0.9,,\nc,b,0.9,,maybe\n", r"v\.csv, line 3: verdict 'maybe' of 'c'"),
        (HEAD + "a,b,high,,yes\n", r"v\.csv, line 2: cosine 'high' is not a number"),
        ("image_id,kept_id,cosine\na,b,0.9\n", r"v\.csv: no column 'verdict'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text, message):
    with pytest.raises(VerdictError, match=message):
        list(parse_marks(text, "v.csv"))


def test_a_table_as_a_spreadsheet_saves_it(tmp_path):
    store = Store(str(tmp_path))
    text = HEAD.replace(",", ";") + 'a;b;0,97;"cosine 0.97 to 0.98";y\n'
    with store.write("report/verdicts.csv") as file:
        file.write(b"\xef\xbb\xbf" + text.encode())
    assert read_marks(store, verdict_files(store)) == [Mark("a", "b", 0.97, True)]


def test_several_tables_add_up_and_may_not_contradict(tmp_path):
    store = Store(str(tmp_path))
    for name, rows in {
        "report/verdicts.csv": "a,b,0.99,,y\nc,b,0.98,,n\n",
        "report/verdicts-2.csv": "d,b,0.99,,y\na,b,0.99,,yes\n",
        "report/pairs_to_mark.csv": "e,b,0.99,,y\n",
    }.items():
        with store.write(name) as file:
            file.write((HEAD + rows).encode())
    found = read_marks(store, verdict_files(store))
    assert sorted(mark.image_id for mark in found) == ["a", "c", "d"]
    assert filled_in_place(store, found) == 1
    assert filled_in_place(store, [*found, Mark("e", "b", 0.99, True)]) == 0
    with store.write("report/verdicts-3.csv") as file:
        file.write((HEAD + "c,b,0.98,,y\n").encode())
    with pytest.raises(VerdictError, match=r"verdicts\S*csv, line \d: 'c' and 'b' are marked as"):
        read_marks(store, verdict_files(store))


def test_the_interval_is_wilsons():
    assert wilson(0, 0) == (0, 1)
    np.testing.assert_allclose(wilson(10, 10), (0.7225, 1.0), atol=1e-4)
    np.testing.assert_allclose(wilson(45, 50), (0.7864, 0.9565), atol=1e-4)
    needed = n_needed(0.99)
    assert needed == 381
    assert wilson(needed, needed)[0] >= 0.99 > wilson(needed - 1, needed - 1)[0]
    assert n_needed(1.0) is None


def test_bands_are_bounded_by_eps_and_max_eps():
    assert [band.eps_to for band in BANDS] == [0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    assert [band.removed for band in BANDS] == [True] * 5 + [False] * 2
    cosines = np.array([1, 0.9999, 0.99, 0.9899, 0.96, 0.9599, 0.94, 0.9], np.float32)
    assert band_of(cosines, BANDS).tolist() == [0, 1, 1, 2, 4, 5, 6, 7]
    assert [(b.eps_from, b.eps_to) for b in make_bands(0, 0)] == [(0, 0)]
    assert [b.eps_to for b in make_bands(0, 0.02)] == [0, 0.01, 0.02]
    assert [b.eps_to for b in make_bands(0.02, 0.02)] == [0, 0.005, 0.01, 0.015, 0.02]


def pairs(*cosines: float) -> pl.DataFrame:
    values = np.array(cosines, np.float32)
    ids = [f"i{i}" for i in range(len(values))]
    return pl.DataFrame(
        {"id": ids, "kept_id": ["k"] * len(ids), "cosine": values, "band": band_of(values, BANDS)}
    )


def table(*counts: tuple[int, int, int]) -> pl.DataFrame:
    """The table `precision` from (pairs, marked, duplicates) of each band."""
    middles = [1.0, *(1 - (b.eps_from + b.eps_to) / 2 for b in BANDS[1:])]
    found = [m for m, (n, _, _) in zip(middles, counts, strict=False) for m in [m] * n]
    marked = [
        Mark(f"{i}-{j}", "k", middles[i], j < right)
        for i, (_, n, right) in enumerate(counts)
        for j in range(n)
    ]
    return precision(pairs(*found), BANDS, marked, beyond_is_known=True)


def test_precision_of_each_band():
    rows = table((5, 4, 4), (9, 20, 19)).to_dicts()
    assert [row["n_pairs"] for row in rows] == [5, 9, 0, 0, 0, 0, 0]
    assert (rows[1]["n_marked"], rows[1]["n_duplicate"], rows[1]["precision"]) == (20, 19, 0.95)
    assert (rows[1]["low"], rows[1]["high"]) == wilson(19, 20)
    assert (rows[2]["precision"], rows[2]["low"], rows[2]["high"]) == (None, 0, 1)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], None),  # no pairs, nothing marked
        ([(5, 9, 9)], None),  # fewer than ten marked
        ([(5, 20, 20), (9, 20, 20), (9, 20, 18), (9, 20, 20)], 0.01),  # the third is too bad
        ([(5, 20, 20), (9, 20, 19)], 0.06),  # nothing lies beyond
        ([(5, 20, 20), (0, 0, 0), (9, 20, 20), (9, 2, 2)], 0.02),  # an empty band is passed
        ([(0, 0, 0), (9, 20, 20), (9, 0, 0)], 0.01),
        ([(5, 20, 18)], None),
    ],
)
def test_the_largest_eps_that_is_precise_enough(counts, expected):
    assert recommend(table(*counts), 0.95, "precision") == expected


def test_to_be_sure_takes_more_marks():
    few, many = table((5, 20, 20), (9, 0, 0)), table((5, 80, 80), (9, 0, 0))
    assert recommend(few, 0.95, "precision") == recommend(many, 0.95, "precision") == 0
    assert recommend(few, 0.95, "low") is None
    assert recommend(many, 0.95, "low") == 0


def test_bands_that_were_not_resolved_do_not_pass_for_empty():
    found = precision(
        pairs(1.0), BANDS, [Mark(f"{i}", "k", 1, True) for i in range(20)], beyond_is_known=False
    )
    assert found["n_pairs"].to_list() == [1, 0, 0, 0, 0, None, None]
    assert recommend(found, 0.9, "precision") == 0.04


def test_pairs_to_mark_are_new_ones_of_every_band_and_come_back_as_they_were(tmp_path):
    all_pairs = pairs(*np.linspace(0.941, 1, 400))
    first = pairs_to_mark(all_pairs, BANDS, [], seed=1)
    assert first["band"].value_counts(sort=True)["count"].max() == 20
    assert set(first["band"]) == set(range(7))
    assert first.equals(pairs_to_mark(all_pairs.reverse(), BANDS, [], seed=1))
    text = csv_to_mark(first, BANDS)
    assert text.splitlines()[0] + "\n" == HEAD
    assert list(parse_marks(text, "v.csv")) == []
    marked = [mark for _, mark in parse_marks(text.replace(",\n", ",y\n"), "v.csv")]
    assert [np.float32(m.cosine) for m in marked] == [np.float32(c) for c in first["cosine"]]
    second = pairs_to_mark(all_pairs, BANDS, marked, seed=1)
    assert not set(second["id"]) & set(first["id"])
    assert set(second["band"]) == set(range(1, 7))
