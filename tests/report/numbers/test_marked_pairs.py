import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from curator_assets.kernels.draws import draw_numbers
from curator_assets.report.numbers.cosine_bands import band_of, make_bands
from curator_assets.report.numbers.drawn_pairs import DrawnPairs
from curator_assets.report.numbers.marked_pairs import (
    N_TO_MARK,
    Mark,
    VerdictError,
    csv_to_mark,
    filled_in_place,
    once_each,
    parse_marks,
    read_marks,
    verdict_files,
)
from curator_assets.report.numbers.removal_frames import BANDED
from curator_assets.storage.store import Store

HEAD = "image_id,kept_id,cosine,band,verdict\n"  # as it was before there was a model
BANDS = make_bands(0.04, 0.06)  # identical, to .01, .02, .03, .04, then to .05 and .06


def parsed(text: str) -> list[Mark]:
    return list(parse_marks(io.StringIO(text, newline=""), "v.csv"))


def marks(*rows: str) -> list[Mark]:
    return parsed(HEAD + "\n".join(rows))


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
        (HEAD + f"{'a' * 200_000},b,0.9,,yes\n", r"v\.csv, line 2: no table row: field larger"),
        ('"' + "a" * 200_000, r"v\.csv, line 1: no table row: field larger"),
        ("verdict,cosine,image_id,kept_id\ny,0.9\n", r"v\.csv, line 2: .* expected two ids"),
        (HEAD + "a,a,1,,y\n", r"v\.csv, line 2: a verdict of 'a' and 'a'; expected two ids"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text, message):
    with pytest.raises(VerdictError, match=message):
        parsed(text)


def test_a_table_as_a_spreadsheet_saves_it(tmp_path):
    store = Store(str(tmp_path))
    text = HEAD.replace(",", ";") + 'a;b;0,97;"cosine 0.97 to 0.98";y\n'
    with store.write("report/verdicts.csv") as file:
        file.write(b"\xef\xbb\xbf" + text.encode())
    assert read_marks(store, verdict_files(store)) == [Mark("a", "b", 0.97, True)]


def test_several_tables_add_up(tmp_path):
    store = Store(str(tmp_path))
    for name, rows in {
        "report/verdicts.csv": "a,b,0.99,,y\nc,b,0.98,,n\n",
        "report/verdicts-2.csv": "d,b,0.99,,y\na,b,0.99,,yes\n",
        "report/pairs_to_mark.csv": "e,b,0.99,,y\n",
        "report/verdicts-old/1.csv": "f,b,0.99,,y\n",
    }.items():
        with store.write(name) as file:
            file.write((HEAD + rows).encode())
    found = read_marks(store, verdict_files(store))
    assert sorted(mark.image_id for mark in found) == ["a", "c", "d"]
    assert filled_in_place(store, found) == 1
    assert filled_in_place(store, [*found, Mark("e", "b", 0.99, True)]) == 0


def test_a_pair_counts_once_whichever_is_kept_and_may_not_be_marked_both_ways():
    found = marks("a,b,0.99,,y", "c,b,0.98,,n", "b,a,0.99,,y")
    assert once_each(found) == found[:2]
    with pytest.raises(VerdictError, match=r"line 3: 'b' and 'c' .* \(see v\.csv, line 2\)"):
        once_each(marks("c,b,0.98,,n", "b,c,0.98,,y"))


def pairs_to_mark(cosines: np.ndarray, marks: list[Mark]) -> pl.DataFrame:
    values, n = cosines.astype(np.float32), len(cosines)
    drawn = DrawnPairs(N_TO_MARK, marks)
    ids = [f"i{i}" for i in range(n)]
    columns = {"id": ids, "kept_id": ["k"] * n, "cosine": values, "band": band_of(values, BANDS)}
    draw = draw_numbers(ids, seed=1)
    others = {name: [None] * n for name in BANDED if name not in columns}
    drawn.add(pl.DataFrame(columns | others | {"draw": draw}, schema=BANDED))
    return drawn.table


def test_pairs_to_mark_are_new_ones_of_every_band_and_come_back_as_they_were(tmp_path):
    cosines = np.linspace(0.941, 1, 400)
    first = pairs_to_mark(cosines, [])
    assert first["band"].value_counts(sort=True)["count"].max() == 20
    assert set(first["band"]) == set(range(7))
    text = csv_to_mark(first, BANDS, "sha256:0123")
    assert text.splitlines()[0] == "image_id,kept_id,cosine,band,model,verdict"
    assert parsed(text) == []
    marked = parsed(text.replace(",\r\n", ",y\r\n"))
    assert {mark.model for mark in marked} == {"sha256:0123"}
    assert [np.float32(m.cosine) for m in marked] == [np.float32(c) for c in first["cosine"]]
    turned = [replace(m, image_id=m.kept_id, kept_id=m.image_id) for m in marked[::2]]
    second = pairs_to_mark(cosines, turned + marked[1::2])
    assert not set(second["id"]) & set(first["id"])
    assert set(second["band"]) == set(range(1, 7))


def test_ids_that_a_spreadsheet_would_run_are_neutralised_and_come_back(tmp_path):
    ids = ["=HYPERLINK(1)", "+1", "-1/a", "@x", "'=quoted", "'plain", "\t=1", 'a;=1, "b"\r']
    cosines = np.full(len(ids), 0.96, np.float32)
    chosen = pl.DataFrame(
        {"id": ids, "kept_id": ids[::-1], "cosine": cosines, "band": band_of(cosines, BANDS)}
    )
    text = csv_to_mark(chosen, BANDS, "sha256:0123")
    assert "\n=" not in text
    assert ",=" not in text
    marked = text.replace(",\r\n", ",y\r\n")
    found = parsed(marked)
    assert [(mark.image_id, mark.kept_id) for mark in found] == list(
        zip(ids, ids[::-1], strict=True)
    )
    store = Store(str(tmp_path))
    with store.write("report/pairs_to_mark.csv") as file:
        file.write(marked.encode())
    assert filled_in_place(store, found) == 0
