import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curator_assets.storage.tables.csv_cells import from_cell, to_cell

TEXTS = st.text() | st.text("'=+-@\t\r\na,;\"", max_size=6)


@given(TEXTS)
@example("'")
@example("''=1")
@example("'a")
def test_a_text_comes_back_and_nothing_that_runs_stands_first(text):
    cell = to_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_cell(cell) == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "'=1"])
def test_what_would_run_has_an_apostrophe_before_it(text):
    assert to_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["a", "", "'", "it's", "'tis", "a=b", "0.5", "shard/key"])
def test_all_else_is_left_as_it_is(text):
    assert to_cell(text) == from_cell(text) == text


@given(st.lists(TEXTS, min_size=2, max_size=2))
def test_through_a_file(texts):
    file = io.StringIO(newline="")
    csv.writer(file).writerow(map(to_cell, texts))
    (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert [from_cell(cell) for cell in row] == texts
