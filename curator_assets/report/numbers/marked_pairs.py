"""Pairs that people mark as duplicate or different: the tables of them, written and read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import polars as pl

from curator_assets.report.numbers.cosine_bands import Band
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.csv_cells import from_cell, to_cell

N_TO_MARK = 20
"""Pairs of each band that nobody has marked."""

_COLUMNS = ("image_id", "kept_id", "cosine", "band", "model", "verdict")
_OPTIONAL = {"band", "model"}
_WORDS = {"duplicate": True, "yes": True, "y": True, "different": False, "no": False, "n": False}


class VerdictError(ValueError):
    """A table of marked pairs says something that can't be read."""


@dataclass(frozen=True)
class Mark:
    """What a person said of a pair; `model` is empty in tables without that column.

    The order of the two tells which was kept when they were shown, which may have changed since.
    """

    image_id: str
    kept_id: str
    cosine: float
    is_duplicate: bool
    model: str = ""
    where: str = field(default="", compare=False)
    """The table and the line, for messages."""

    @property
    def pair(self) -> frozenset[str]:
        """The two, whichever is kept."""
        return frozenset((self.image_id, self.kept_id))


@dataclass(frozen=True)
class LeftOutMark:
    """A marked pair that does not count, and why."""

    image_id: str
    kept_id: str
    why: str


def verdict_files(store: Store) -> list[str]:
    """The tables of marked pairs: `report/verdicts.csv`, or several, `report/verdicts*.csv`."""
    names = store.names_beginning(layout.VERDICTS_PREFIX)
    return [name for name in names if name.endswith(".csv")]


def read_marks(store: Store, names: Iterable[str]) -> list[Mark]:
    """The marked pairs of some tables, those that are written twice once.

    Raises:
        VerdictError: a verdict can't be read; names the row.
    """
    read = (parse_marks(_lines(store, name), name) for name in names)
    return list(dict.fromkeys(chain.from_iterable(read)))


def once_each(marks: Iterable[Mark]) -> list[Mark]:
    """The marks, each pair once, whichever of the two is kept; the first of each.

    Raises:
        VerdictError: one pair is marked both ways; names both rows.
    """
    found = dict[frozenset[str], Mark]()
    for mark in marks:
        known = found.setdefault(mark.pair, mark)
        if known.is_duplicate != mark.is_duplicate:
            raise VerdictError(
                f"{mark.where}: {mark.image_id!r} and {mark.kept_id!r} are marked as duplicate "
                f"and as different (see {known.where}); leave one of the two"
            )
    return list(found.values())


def parse_marks(lines: Iterable[str], name: str) -> Iterator[Mark]:
    """Each marked row of a table; rows without a verdict are left out.

    Raises:
        VerdictError: a column is missing, or a value can't be read; names line and value.
    """
    reader = _rows(lines)
    try:
        head = reader.fieldnames or []
        missing = [c for c in _COLUMNS if c not in head and c not in _OPTIONAL]
        if missing:
            raise VerdictError(f"{name}: no column {missing[0]!r}; expected {', '.join(_COLUMNS)}")
        for row in reader:
            if (row["verdict"] or "").strip():
                yield _mark(row, f"{name}, line {reader.line_num}")
    except csv.Error as error:
        raise VerdictError(f"{name}, line {reader.line_num + 1}: no table row: {error}") from None


def _mark(row: Mapping[str, str], where: str) -> Mark:
    word = row["verdict"].strip().lower()
    if word not in _WORDS:
        raise VerdictError(
            f"{where}: verdict {row['verdict']!r} of {row['image_id']!r}; expected duplicate "
            "or different (or yes, no), or nothing"
        )
    try:
        cosine = float(row["cosine"].replace(",", "."))
    except (AttributeError, ValueError):
        raise VerdictError(f"{where}: cosine {row['cosine']!r} is not a number") from None
    one, other = from_cell(row["image_id"] or ""), from_cell(row["kept_id"] or "")
    if not one or not other or one == other:
        raise VerdictError(f"{where}: a verdict of {one!r} and {other!r}; expected two ids")
    return Mark(one, other, cosine, _WORDS[word], (row.get("model") or "").strip(), where)


def csv_to_mark(chosen: pl.DataFrame, bands: list[Band], model: str) -> str:
    """The pairs as a table with an empty column `verdict`; `model` is that of their cosines."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for pair in chosen.to_dicts():
        ids = to_cell(pair["id"]), to_cell(pair["kept_id"])
        cosine, band = str(np.float32(pair["cosine"])), bands[pair["band"]].name
        writer.writerow([*ids, cosine, band, model, ""])
    return file.getvalue()


def filled_in_place(store: Store, marks: list[Mark]) -> int:
    """How many rows a person has filled in in the last table of pairs to mark, `marks` apart."""
    counted = {(mark.image_id, mark.kept_id) for mark in marks}
    try:  # a row of more fields than the head is none that a person filled in
        rows = _rows(_lines(store, layout.PAIRS_TO_MARK))
        filled = [r for r in rows if None not in r and (r.get("verdict") or "").strip()]
    except (FileNotFoundError, csv.Error):  # a byte 0: no table any more
        return 0
    ids = [[from_cell(row.get(name) or "") for name in ("image_id", "kept_id")] for row in filled]
    return sum(tuple(pair) not in counted for pair in ids)


def _lines(store: Store, name: str) -> Iterator[str]:
    """The lines of a stored table, as they are asked for."""
    with (
        store.open(name) as file,
        io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="") as text,
    ):
        yield from text


def _rows(lines: Iterable[str]) -> csv.DictReader[str]:
    """The rows of a table as spreadsheets write it, whatever stands between its columns."""
    lines = iter(lines)
    head = next(lines, "")
    delimiter = next((sign for sign in ",;\t" if sign in head), ",")
    return csv.DictReader(chain([head], lines), delimiter=delimiter)
