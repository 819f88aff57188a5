"""What other settings would change, worked out on what is stored; nothing is written."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.deduplicate.resolver import Resolver
from curator_assets.defs.deduplicate.stored_pairs import stored_pairs
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.defs.filter.sample_rules import read_samples_table
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS, kept_version
from curator_assets.defs.output.verdicts import KEPT, kept_keys, verdict_table
from curator_assets.engine.work import Work
from curator_assets.errors import UserError
from curator_assets.questions.sample_lookup import REFRESH
from curator_assets.questions.stored_work import stored_work, unmade
from curator_assets.settings import Settings
from curator_assets.storage.tables import schemas

_DECISIONS = (
    "filters",
    *(f"duplicates.{name}" for name in ("eps", "keep", "best_by", "rule", "seed")),
)


class NotComparableError(UserError):
    """The verdicts with some settings can't be known from what is stored."""


@dataclass(frozen=True)
class ChangedSample:
    """A sample with another verdict, or the same one for another reason.

    `kept_id` and `cosine` are those after; before, the reason names them.
    """

    image_id: str
    before: str
    reason_before: str | None
    after: str
    reason_after: str | None
    kept_id: str | None
    cosine: float | None


@dataclass(frozen=True)
class ShardChange:
    """What becomes of a shard; pairs are (before, after).

    Attributes:
        verdicts: pair of verdicts -> samples.
        n_kept: samples.
        kept_bytes: of the image files that are kept.
        changed: the samples that change, in the order of the tar.
        rewritten: whether its curated tar, as it lies, would be written anew or go.
        is_pending: whether that tar is not even what the first settings ask for.
    """

    shard: str
    verdicts: Counter[tuple[str, str]]
    n_kept: tuple[int, int]
    kept_bytes: tuple[int, int]
    changed: list[ChangedSample]
    rewritten: bool
    is_pending: bool


def compare(first: Settings, second: Settings) -> Iterator[ShardChange]:
    """What the second settings would change against the first, shard by shard.

    Raises:
        NotComparableError: the verdicts can't be known from what is stored; says why.
    """
    work = stored_work(first)
    _require_stored(work, second)
    return _changes(work, second)


def changed_keys(first: Settings, second: Settings) -> dict[str, tuple[Any, Any]]:
    """Dotted key of each setting that differs -> both values."""
    before, after = _flat(first.model_dump(mode="json")), _flat(second.model_dump(mode="json"))
    names = [*before, *(name for name in after if name not in before)]
    both = {name: (before.get(name), after.get(name)) for name in names}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = dict[str, Any]()
    for name, value in section.items():
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {}
        flat |= inner or {f"{prefix}{name}": value}
    return flat


def _require_stored(work: Work, second: Settings) -> None:
    """Refuse what the stored embeddings, scores and pairs can't answer.

    Raises:
        NotComparableError: says which settings ask for it, and what would have to be made first.
    """
    first, keys = work.settings, changed_keys(work.settings, second)
    if elsewhere := [name for name in ("source", "output") if name in keys]:
        raise NotComparableError(
            f"the two files differ in {' and '.join(elsewhere)}: settings are compared on one "
            "dataset; give both files the same"
        )
    if not work.made_shards(IMAGE_EMBEDDINGS):
        raise NotComparableError(f"nothing is embedded yet; make it first: {REFRESH}")
    if lacking := unmade(work):
        raise NotComparableError(
            f"what is stored is incomplete, or not of the first settings ({_listed(lacking)}); "
            f"make it first: {REFRESH}"
        )
    max_eps = first.duplicates.max_eps
    if second.duplicates.max_eps < max_eps:  # its pairs are among those that are stored
        duplicates = second.duplicates.model_copy(update={"max_eps": max_eps})
        second = second.model_copy(update={"duplicates": duplicates})
    if lacking := unmade(stored_work(second)):
        ask = {name: values for name, values in keys.items() if name not in _DECISIONS}
        differ = [f"{name}: {before} -> {after}" for name, (before, after) in ask.items()]
        raise NotComparableError(
            "the second settings need data that is not stored, so their verdicts can't be known; "
            "settings that differ, filters and the like apart: "
            + ("; ".join(differ) or "none, but files that they name have changed")
            + f"; would be made first: {_listed(lacking)}"
        )


def _listed(lacking: Mapping[str, Counter[str]]) -> str:
    return "; ".join(
        f"{asset}: {n} {reason}"
        for asset, reasons in lacking.items()
        for reason, n in reasons.most_common(3)
    )


def _changes(work: Work, second: Settings) -> Iterator[ShardChange]:
    first, store = work.settings, work.store
    stored = stored_pairs(work)
    both = [
        (settings, _Removals(Resolver(stored, settings, max_eps=eps).removals(eps)))
        for settings in (first, second)
        for eps in [settings.duplicates.eps]
    ]
    for shard, entry in shards_of_one_id_each(work).items():
        samples = read_samples_table(store, shard, first)
        before, after = (
            verdict_table(samples, removals.of(shard), settings) for settings, removals in both
        )
        made = work.entry(DEDUPLICATED_SHARDS, shard)
        stands = made.state.get("kept") if made else None
        asked = [kept_version(entry.state["tar"], kept_keys(table)) for table in (before, after)]
        yield _shard_change(
            shard, before, after, rewritten=stands != asked[1], is_pending=stands != asked[0]
        )


class _Removals:
    """The removed images of each shard, asked for in order of arrival."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._next = next(tables, None)

    def of(self, shard: str) -> pa.Table:
        """The rows of a shard; maybe none."""
        found = self._next
        if found is None or found["shard"][0].as_py() != shard:
            return schemas.DUPLICATE_GROUPS.empty_table()
        self._next = next(self._tables, None)
        return found


def _shard_change(
    shard: str, before: pa.Table, after: pa.Table, *, rewritten: bool, is_pending: bool
) -> ShardChange:
    kept = [table.filter(pc.field("verdict") == KEPT)["n_bytes"] for table in (before, after)]
    verdicts = zip(before["verdict"].to_pylist(), after["verdict"].to_pylist(), strict=True)
    return ShardChange(
        shard,
        verdicts=Counter(verdicts),
        n_kept=(len(kept[0]), len(kept[1])),
        kept_bytes=(pc.sum(kept[0]).as_py() or 0, pc.sum(kept[1]).as_py() or 0),
        changed=_changed_samples(before, after),
        rewritten=rewritten,
        is_pending=is_pending,
    )


def _changed_samples(before: pa.Table, after: pa.Table) -> list[ChangedSample]:
    differs = pc.not_equal(before["verdict"], after["verdict"])
    reasons = (pc.fill_null(table["reason"], "") for table in (before, after))
    rows = pc.or_(differs, pc.not_equal(*reasons))
    old = before.filter(rows).select(["verdict", "reason"]).to_pylist()
    new = after.filter(rows)
    new = new.select(["image_id", "verdict", "reason", "kept_id", "cosine"]).to_pylist()
    return [
        ChangedSample(
            image_id=b["image_id"],
            before=a["verdict"],
            reason_before=a["reason"],
            after=b["verdict"],
            reason_after=b["reason"],
            kept_id=b["kept_id"],
            cosine=b["cosine"],
        )
        for a, b in zip(old, new, strict=True)
    ]
