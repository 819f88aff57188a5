"""The columns of the tables of `curation_report`."""

from __future__ import annotations

import pyarrow as pa


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_TEXT, _COUNT, _NUMBER, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_BY_VERDICT = {
    "n_images": _COUNT,
    "n_unreadable": _COUNT,
    "n_filtered": _COUNT,
    "n_duplicates": _COUNT,
    "n_kept": _COUNT,
    "n_bytes": _COUNT,
    "n_bytes_kept": _COUNT,
}

TABLES = {
    # one row a verdict and reason, in the order in which they strike; `read` is all
    "funnel": _schema(verdict=_TEXT, reason=_TEXT, n_images=_COUNT, n_bytes=_COUNT),
    # readable images by value of a score; a bin holds its start, the last one its end too
    "histograms": _schema(score=_TEXT, bin_start=_NUMBER, bin_end=_NUMBER, n_images=_COUNT),
    # what a bound would keep of the readable images, alone; `side` is min or max
    "thresholds": _schema(
        score=_TEXT,
        side=_TEXT,
        threshold=_NUMBER,
        chosen=_FLAG,
        n_kept=_COUNT,
        kept_fraction=_NUMBER,
    ),
    # `removed_fraction` is of the images that take part: readable, and not filtered
    "eps_curve": _schema(eps=_NUMBER, n_removed=_COUNT, removed_fraction=_NUMBER),
    "group_sizes": _schema(size=_COUNT, n_groups=_COUNT),
    # a million rows at most, those of most duplicates
    "shard_pairs": _schema(shard=_TEXT, kept_shard=_TEXT, n_duplicates=_COUNT),
    # `by` is format, size or folder
    "rates": _schema(by=_TEXT, value=_TEXT, **_BY_VERDICT),
    "shards": _schema(shard=_TEXT, **_BY_VERDICT),
    # `x` and `y` place the centroid on its principal components
    "cells": _schema(cell=_COUNT, x=_NUMBER, y=_NUMBER, **_BY_VERDICT),
    # pairs between two cosines, and what people said of some of them
    "precision": _schema(
        band=_TEXT,
        eps_from=_NUMBER,
        eps_to=_NUMBER,
        n_pairs=_COUNT,
        n_marked=_COUNT,
        n_duplicate=_COUNT,
        precision=_NUMBER,
        low=_NUMBER,
        high=_NUMBER,
    ),
}
"""Name -> columns, of every table under `report/tables`."""
