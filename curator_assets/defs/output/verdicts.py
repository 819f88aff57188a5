"""The verdict on each sample of a shard, and why."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.filter.sample_rules import filter_reasons
from curator_assets.number_words import counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage.tables import schemas

KEPT = "kept"
VERDICTS = (KEPT, "filtered", "duplicate", "unreadable")

_DUPLICATE_COLUMNS = schemas.DUPLICATE_IDS.names


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


def words_of_verdicts(n: Mapping[str, int], settings: Settings) -> str:
    """Samples by verdict in a sentence.

    Args:
        n: `n_samples`, and of each verdict how many.
        settings: in force; only the greedy rule promises that what stands for a duplicate is kept.
    """
    if not n["n_samples"]:
        return "no samples"
    parts = [f"{n['n_kept']:,} kept" if n["n_kept"] else "none kept"]
    duplicates = ("duplicate", "duplicates")
    if settings.duplicates.rule == "greedy" and n["n_duplicates"]:
        duplicates = "duplicate of a kept image", "duplicates of kept images"
    parts.append(counted_or_no(n["n_duplicates"], *duplicates))
    parts += [f"{n[f'n_{why}']:,} {why}" for why in ("filtered", "unreadable") if n[f"n_{why}"]]
    return f"{counted_or_no(n['n_samples'], 'sample')}: {', '.join(parts)}"
