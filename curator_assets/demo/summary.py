"""The demo's closing table: what was planted, and how much of it was found."""

from collections import defaultdict
from pathlib import Path

import polars as pl

from curator_assets.demo.samples import Planted, read_truth
from curator_assets.settings import Settings
from curator_assets.storage.store import Store

MAY_LIE_BEYOND_EPS = {"resized", "cropped", "brightened"}
"""Copies that differ from their original; whether they are duplicates depends on model and eps."""


def print_planted(settings: Settings, truth_path: Path) -> bool:
    """Print how much of what was planted was found.

    Returns:
        Whether what had to be found was found, and nothing else was merged.
    """
    verdicts = _verdicts(Store(settings.output))
    matches = _print_planted(read_truth(truth_path), verdicts)
    print(f"\nplanted truth   {truth_path}")
    return matches


def _verdicts(store: Store) -> dict[str, dict[str, str]]:
    table = pl.read_parquet(f"{store.root}/shards/**/*.parquet")
    return {row["image_id"]: row for row in table.to_dicts()}


def _print_planted(truth: list[Planted], verdicts: dict[str, dict[str, str]]) -> bool:
    """One line a planted case: how many of them came out as expected."""
    cases = defaultdict[str, list[bool]](list)
    for planted in truth:
        cases[planted.case].append(_as_expected(planted, verdicts))
    print(f"{'planted':<34}{'':>6}  found")
    for case, found in cases.items():
        beyond = case in MAY_LIE_BEYOND_EPS and not all(found)
        note = "  the others lie beyond eps" if beyond else ""
        print(f"  {case:<32}{len(found):>6}{sum(found):>7}{note}")
    n_merged = _n_wrongly_merged(truth, verdicts)
    print(f"  {'different photographs merged':<32}{0:>6}{n_merged:>7}")
    required = (found for case, found in cases.items() if case not in MAY_LIE_BEYOND_EPS)
    return not n_merged and all(all(found) for found in required)


def _as_expected(planted: Planted, verdicts: dict[str, dict[str, str]]) -> bool:
    found = verdicts[planted.id]
    if planted.expect == "duplicate":
        assert planted.of is not None
        stands = {image: verdicts[image]["kept_id"] or image for image in (planted.id, planted.of)}
        return found["verdict"] == "duplicate" and len(set(stands.values())) == 1
    if planted.expect == "kept":
        return found["verdict"] in {"kept", "filtered"}
    return f"{found['verdict']}:{found['reason']}" == planted.expect


def _n_wrongly_merged(truth: list[Planted], verdicts: dict[str, dict[str, str]]) -> int:
    original = {planted.id: planted.of or planted.id for planted in truth}
    return sum(
        original[row["image_id"]] != original[row["kept_id"]]
        for row in verdicts.values()
        if row["kept_id"]
    )
