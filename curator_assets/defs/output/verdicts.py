"""The verdict on each sample of a shard, and why."""

import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.filter.sample_rules import filter_reasons
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
