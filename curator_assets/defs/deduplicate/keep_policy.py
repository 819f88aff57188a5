"""The place of each image in the order in which images claim to be kept.

Legend: *N samples of all shards, n of one shard that take part*.
"""

from typing import TYPE_CHECKING, assert_never

import numpy as np
import pyarrow as pa

from curator_assets.defs.deduplicate.stored_pairs import StoredPairs
from curator_assets.defs.filter.sample_rules import passing_mask
from curator_assets.kernels.keep_order import KeepOrder, best_keys, easy_keys, random_keys
from curator_assets.settings import Settings

if TYPE_CHECKING:
    from curator_assets.kernels.keep_order import Keys
    from curator_assets.kernels.nodes import Numbers


def places(stored: StoredPairs, settings: Settings) -> "tuple[Numbers, Numbers | None]":
    """The place of each image that takes part: it is readable and passes the filters.

    Returns:
        [N], N for those that take no part; and the row at each place, None where that is the row.
    """
    keep, n_rows = settings.duplicates.keep, stored.numbers.n_rows
    place = np.full(n_rows, n_rows, stored.row_type)
    order = KeepOrder(stored.row_type, stored.scratch.open, is_descending=keep == "hard")
    for shard, first_row, table in stored.samples(settings, _columns(settings)):
        passing = np.flatnonzero(passing_mask(table, settings.filters))
        rows = first_row + passing
        if keep == "first":
            place[rows] = rows
        elif len(rows):
            part = table if len(rows) == len(table) else table.take(pa.array(passing))
            distance = stored.distances(shard)[passing] if keep in {"hard", "easy"} else None
            order.append(rows, _keys(part, rows, distance, settings))
    if keep == "first":
        return place, None
    by_place = order.rows()
    place[by_place] = np.arange(len(by_place), dtype=place.dtype)
    return place, by_place


def _columns(settings: Settings) -> list[str]:
    """What filters and order look at."""
    duplicates = settings.duplicates
    columns = ["error", *(rule.score for rule in settings.filters)]
    match duplicates.keep:
        case "first":
            pass
        case "best":
            columns += [*duplicates.best_by, "width", "height"]
        case "hard" | "easy" | "random":
            columns.append("image_id")
        case _:
            assert_never(duplicates.keep)
    return list(dict.fromkeys(columns))


def _keys(
    table: pa.Table, rows: np.ndarray, distance: np.ndarray | None, settings: Settings
) -> "Keys":
    """The keys of the order of n images, by columns of theirs."""
    duplicates = settings.duplicates
    if duplicates.keep == "best":
        columns = [_numbers(table, column) for column in duplicates.best_by]
        pixels = np.nan_to_num(_numbers(table, "width") * _numbers(table, "height"))
        return best_keys(columns, pixels.astype(np.int64), rows)
    ids = table["image_id"].to_pylist()
    if distance is not None:
        return easy_keys(distance, ids)
    return random_keys(ids, rows, seed=duplicates.seed)


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    values: np.ndarray = table[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values
