"""The stored columns of a shard's samples, and what the filter rules say of them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curator_assets.kernels.rules import first_broken_rule
from curator_assets.settings import STATISTIC_COLUMNS, FilterRule, Settings
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_table

_SAMPLE_COLUMNS = ["image_id", "shard", "key", "position", "content_hash", "error"]


def read_samples_table(store: Store, shard: str, settings: Settings) -> pa.Table:
    """Every sample of a shard with all columns that rules may name, as numbers, no embedding.

    Raises:
        ValueError: the scores are of other samples than the embeddings.
    """
    columns = [*_SAMPLE_COLUMNS, *STATISTIC_COLUMNS, *settings.heads]
    return read_sample_columns(store, shard, settings, columns)


def read_sample_columns(
    store: Store, shard: str, settings: Settings, columns: Sequence[str]
) -> pa.Table:
    """Every sample of a shard, with some columns of the embeddings and of the scores of heads.

    Raises:
        ValueError: the scores are of other samples than the embeddings.
    """
    heads = [name for name in columns if name in settings.heads]
    stored = [name for name in columns if name not in settings.heads]
    if heads and "image_id" not in stored:
        stored.append("image_id")
    table = read_table(store, layout.embeddings(shard), stored)
    for name in stored:
        if pa.types.is_boolean(table[name].type):
            numbers = table[name].cast(pa.float32())
            table = table.set_column(table.column_names.index(name), name, numbers)
    if not heads:
        return table
    scores = read_table(store, layout.scores(shard), ["image_id", *heads])
    if not scores["image_id"].equals(table["image_id"]):
        raise ValueError(
            f"shard {shard!r}: its scores are of other samples than its embeddings; score it again"
        )
    for head in heads:
        table = table.append_column(head, scores[head])
    return table


def filter_reasons(table: pa.Table, rules: tuple[FilterRule, ...]) -> list[str | None]:
    """The first rule that each readable sample breaks; None where it passes or is unreadable."""
    readable = readable_mask(table)
    reasons = [rule.reason for rule in rules] + [None]
    broken = _broken_rules(table, rules)
    return [reasons[rule] if ok else None for rule, ok in zip(broken, readable, strict=True)]


def passing_mask(table: pa.Table, rules: tuple[FilterRule, ...]) -> np.ndarray:
    """Bool [N]: which samples are readable and break no rule."""
    mask: np.ndarray = readable_mask(table) & (_broken_rules(table, rules) == len(rules))
    return mask


def _broken_rules(table: pa.Table, rules: tuple[FilterRule, ...]) -> np.ndarray:
    """int64 [N]: the number of the first rule that each sample breaks, or that of rules."""
    if not rules:
        return np.zeros(len(table), np.int64)
    columns = [table[rule.score].to_numpy(zero_copy_only=False) for rule in rules]
    return first_broken_rule(columns, [r.min for r in rules], [r.max for r in rules])


def readable_mask(table: pa.Table) -> np.ndarray:
    """Bool [N]: which samples have an embedding."""
    mask: np.ndarray = table["error"].is_null().to_numpy(zero_copy_only=False)
    return mask
