"""What the stored columns and the filter rules say of each sample of a shard."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.kernels.rules import first_broken_rule
from curator_assets.settings import STATISTIC_COLUMNS, FilterRule, Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table

KEPT = "kept"
VERDICTS = (KEPT, "filtered", "duplicate", "unreadable")

_SAMPLE_COLUMNS = ["image_id", "key", "position", "content_hash", "error"]
_DUPLICATE_COLUMNS = schemas.DUPLICATE_IDS.names


def read_samples_table(store: Store, shard: str, settings: Settings) -> pa.Table:
    """Every sample of a shard with all numeric columns that rules may name, no embedding.

    Raises:
        ValueError: the scores are of other samples than the embeddings.
    """
    table = read_table(store, layout.embeddings(shard), [*_SAMPLE_COLUMNS, *STATISTIC_COLUMNS])
    if not settings.heads:
        return table
    scores = read_table(store, layout.scores(shard))
    if not scores["image_id"].equals(table["image_id"]):
        raise ValueError(
            f"shard {shard!r}: filter_scores are of other samples than image_embeddings; "
            "materialise filter_scores again"
        )
    for score in settings.heads:
        table = table.append_column(score, scores[score])
    return table


def verdict_table(samples: pa.Table, removed: pa.Table, settings: Settings) -> pa.Table:
    """The table beside a curated tar: the verdict on every sample of a shard, and why.

    Args:
        samples: of `read_samples_table`.
        removed: the shard's duplicates, with the columns of `duplicate_ids`.
        settings: the filters in force.
    """
    duplicates = {row["id"]: row for row in removed.select(_DUPLICATE_COLUMNS).to_pylist()}
    filtered = filter_reasons(samples, settings.filters)
    verdicts, reasons, kept_ids, cosines = [], [], [], []
    ids, errors = samples["image_id"].to_pylist(), samples["error"].to_pylist()
    for image_id, error, reason in zip(ids, errors, filtered, strict=True):
        duplicate = duplicates.get(image_id)
        if error:
            verdict = ("unreadable", error)
        elif reason:
            verdict = ("filtered", reason)
        elif duplicate:
            verdict = ("duplicate", f"cosine {duplicate['cosine']:.4f} to {duplicate['kept_id']}")
        else:
            verdict = (KEPT, None)
        duplicate = duplicate if verdict[0] == "duplicate" else None
        verdicts.append(verdict[0])
        reasons.append(verdict[1])
        kept_ids.append(duplicate["kept_id"] if duplicate else None)
        cosines.append(duplicate["cosine"] if duplicate else None)
    columns = {"verdict": verdicts, "reason": reasons, "kept_id": kept_ids, "cosine": cosines}
    for name, values in columns.items():
        kind = schemas.curated(()).field(name).type
        samples = samples.append_column(name, pa.array(values, kind))
    return samples


def kept_keys(table: pa.Table) -> list[str]:
    """The keys that a `verdict_table` keeps, in the order of the tar."""
    keys: list[str] = table.filter(pc.field("verdict") == KEPT)["key"].to_pylist()
    return keys


def cause(verdict: str, reason: str | None) -> str:
    """A verdict and its reason in words that many samples share."""
    return f"{verdict}: {reason}" if verdict in {"filtered", "unreadable"} else verdict


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
    columns = [
        table[rule.score].cast(pa.float64()).to_numpy(zero_copy_only=False) for rule in rules
    ]
    return first_broken_rule(columns, [r.min for r in rules], [r.max for r in rules])


def readable_mask(table: pa.Table) -> np.ndarray:
    """Bool [N]: which samples have an embedding."""
    mask: np.ndarray = table["error"].is_null().to_numpy(zero_copy_only=False)
    return mask
