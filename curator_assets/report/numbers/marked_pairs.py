"""Pairs that people mark as duplicate or different: the tables of them, written and read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from curator_assets.report.numbers.cosine_bands import Band
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.csv_cells import from_cell, to_cell

N_TO_MARK = 20
"""Pairs of each band that nobody has marked."""

_COLUMNS = ("image_id", "kept_id", "cosine", "band", "verdict")
_WORDS = {"duplicate": True, "yes": True, "y": True, "different": False, "no": False, "n": False}


class VerdictError(ValueError):
    """A table of marked pairs says something that can't be read."""


@dataclass(frozen=True)
class Mark:
    """What a person said of a pair."""

    image_id: str
    kept_id: str
    cosine: float
    is_duplicate: bool


def verdict_files(store: Store) -> list[str]:
    """The tables of marked pairs: `report/verdicts.csv`, or several, `report/verdicts*.csv`."""
    names = store.names(layout.REPORT_FOLDER)
    return [n for n in names if n.startswith(layout.VERDICTS_PREFIX) and n.endswith(".csv")]


def read_marks(store: Store, names: Iterable[str]) -> list[Mark]:
    """The marked pairs of some tables, each pair once.

    Raises:
        VerdictError: a verdict can't be read, or one pair is marked both ways; names the row.
    """
    marks = dict[tuple[str, str], Mark]()
    for name in names:
        with store.open(name) as file:
            text = file.read().decode("utf-8-sig", errors="replace")
        for line, mark in parse_marks(text, name):
            known = marks.setdefault((mark.image_id, mark.kept_id), mark)
            if known.is_duplicate != mark.is_duplicate:
                raise VerdictError(
                    f"{name}, line {line}: {mark.image_id!r} and {mark.kept_id!r} are marked as "
                    "duplicate and as different; leave one of the two"
                )
    return list(marks.values())


def parse_marks(text: str, name: str) -> Iterator[tuple[int, Mark]]:
    """Each marked row of a table with its line; rows without a verdict are left out.

    Raises:
        VerdictError: a column is missing, or a value can't be read; names line and value.
    """
    reader = _rows(text)
    missing = [c for c in _COLUMNS if c not in (reader.fieldnames or []) and c != "band"]
    if missing:
        raise VerdictError(f"{name}: no column {missing[0]!r}; expected {', '.join(_COLUMNS)}")
    for row in reader:
        word = (row["verdict"] or "").strip().lower()
        if not word:
            continue
        where = f"{name}, line {reader.line_num}"
        if word not in _WORDS:
            raise VerdictError(
                f"{where}: verdict {row['verdict']!r} of {row['image_id']!r}; expected duplicate "
                "or different (or yes, no), or nothing"
            )
        try:
            cosine = float(row["cosine"].replace(",", "."))
        except (AttributeError, ValueError):
            raise VerdictError(f"{where}: cosine {row['cosine']!r} is not a number") from None
        ids = from_cell(row["image_id"]), from_cell(row["kept_id"])
        yield reader.line_num, Mark(*ids, cosine, _WORDS[word])


def csv_to_mark(chosen: pl.DataFrame, bands: list[Band]) -> str:
    """The pairs as a table with an empty column `verdict`."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for pair in chosen.to_dicts():
        ids = to_cell(pair["id"]), to_cell(pair["kept_id"])
        writer.writerow([*ids, str(np.float32(pair["cosine"])), bands[pair["band"]].name, ""])
    return file.getvalue()


def filled_in_place(store: Store, marks: list[Mark]) -> int:
    """How many rows a person has filled in in the last table of pairs to mark, `marks` apart."""
    counted = {(mark.image_id, mark.kept_id) for mark in marks}
    try:
        with store.open(layout.PAIRS_TO_MARK) as file:
            rows = _rows(file.read().decode("utf-8-sig", errors="replace"))
    except FileNotFoundError:
        return 0
    try:  # a row of more fields than the head is none that a person filled in
        filled = [r for r in rows if None not in r and (r.get("verdict") or "").strip()]
    except csv.Error:  # a byte 0: no table any more
        return 0
    ids = [[from_cell(row.get(name) or "") for name in ("image_id", "kept_id")] for row in filled]
    return sum(tuple(pair) not in counted for pair in ids)


def _rows(text: str) -> csv.DictReader[str]:
    """The rows of a table as spreadsheets write it, whatever stands between its columns."""
    head = text.partition("\n")[0]
    delimiter = next((sign for sign in ",;\t" if sign in head), ",")
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
