"""Pairs that people mark as duplicate or different, and what eps follows from it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from curator_assets.report.bands import Band, band_of
from curator_assets.report.examples import draw
from curator_assets.storage import layout
from curator_assets.storage.store import Store

N_TO_MARK = 20
MIN_MARKED = 10
"""Marked pairs in a band below which it says nothing."""

_COLUMNS = ("image_id", "kept_id", "cosine", "band", "verdict")
_WORDS = {"duplicate": True, "yes": True, "y": True, "different": False, "no": False, "n": False}
_Z = 1.959964  # of a 95 % interval


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
        yield reader.line_num, Mark(row["image_id"], row["kept_id"], cosine, _WORDS[word])


def pairs_to_mark(
    pairs: pl.DataFrame, bands: list[Band], marks: list[Mark], seed: int
) -> pl.DataFrame:
    """Some pairs of each band that nobody has marked: rows of `pairs`, band by band."""
    marked = pl.DataFrame(
        [(mark.image_id, mark.kept_id) for mark in marks],
        schema={"id": pl.String, "kept_id": pl.String},
        orient="row",
    )
    left = pairs.join(marked, on=["id", "kept_id"], how="anti", maintain_order="left")
    drawn = [
        draw(left.filter(pl.col("band") == band), N_TO_MARK, seed) for band in range(len(bands))
    ]
    return pl.concat(drawn)


def csv_to_mark(chosen: pl.DataFrame, bands: list[Band]) -> str:
    """The pairs as a table with an empty column `verdict`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for image_id, kept_id, cosine, band in chosen.select(
        "id", "kept_id", "cosine", "band"
    ).iter_rows():
        writer.writerow([image_id, kept_id, str(np.float32(cosine)), bands[band].name, ""])
    return file.getvalue()


def filled_in_place(store: Store, marks: list[Mark]) -> int:
    """How many rows a person has filled in in the last table of pairs to mark, `marks` apart."""
    counted = {(mark.image_id, mark.kept_id) for mark in marks}
    try:
        with store.open(layout.PAIRS_TO_MARK) as file:
            rows = _rows(file.read().decode("utf-8-sig", errors="replace"))
    except FileNotFoundError:
        return 0
    filled = [row for row in rows if (row.get("verdict") or "").strip()]
    return sum((row.get("image_id"), row.get("kept_id")) not in counted for row in filled)


def _rows(text: str) -> csv.DictReader[str]:
    """The rows of a table as spreadsheets write it, whatever stands between its columns."""
    head = text.partition("\n")[0]
    delimiter = next((sign for sign in ",;\t" if sign in head), ",")
    return csv.DictReader(io.StringIO(text), delimiter=delimiter)


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, 1927); all of [0, 1] for none seen."""
    if not n:
        return 0.0, 1.0
    share, z2 = n_right / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def precision(
    pairs: pl.DataFrame, bands: list[Band], marks: list[Mark], *, beyond_is_known: bool
) -> pl.DataFrame:
    """The table `precision`: of each band the pairs, the marked ones and how many are right.

    Unless `beyond_is_known`, the number of pairs that the chosen eps does not remove is null.
    """
    in_band = band_of(np.array([mark.cosine for mark in marks], np.float32), bands)
    right = np.array([mark.is_duplicate for mark in marks], bool)
    sizes = dict(pairs.group_by("band").len().iter_rows())
    rows = []
    for number, band in enumerate(bands):
        n, n_right = int((in_band == number).sum()), int(right[in_band == number].sum())
        low, high = wilson(n_right, n)
        share = n_right / n if n else None
        n_pairs = sizes.get(number, 0) if band.removed or beyond_is_known else None
        edges = band.name, band.eps_from, band.eps_to
        rows.append((*edges, n_pairs, n, n_right, share, low, high))
    schema = {"band": pl.String, "eps_from": pl.Float64, "eps_to": pl.Float64}
    counts = dict.fromkeys(("n_pairs", "n_marked", "n_duplicate"), pl.Int64)
    shares = dict.fromkeys(("precision", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema={**schema, **counts, **shares}, orient="row")


def recommend(table: pl.DataFrame, wished: float, by: str) -> float | None:
    """The largest eps such that all bands up to it are precise enough.

    A band with fewer than `MIN_MARKED` marked pairs ends the search, unless it holds no pair and
    none is marked.

    Args:
        table: `precision`.
        wished: least precision.
        by: column that is held against it: `precision`, or `low` to be sure of it.

    Returns:
        A band's far end; None if not even the first band with pairs is known to be precise enough.
    """
    found = None
    for row in table.to_dicts():
        if row["n_pairs"] == 0 and not row["n_marked"]:
            found = None if found is None else row["eps_to"]
        elif row["n_marked"] >= MIN_MARKED and row[by] >= wished:
            found = row["eps_to"]
        else:
            break
    return found


def n_needed(wished: float) -> int | None:
    """How many pairs of a band, all of them right, put its interval above `wished`."""
    return None if wished >= 1 else math.ceil(_Z**2 * wished / (1 - wished))
