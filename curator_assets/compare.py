"""`python -m curator_assets.compare`: which images other settings would keep or drop."""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from random import Random
from typing import Any

from curator_assets.defs.output.verdicts import KEPT, VERDICTS, cause
from curator_assets.models.head_files import HeadUnavailableError
from curator_assets.questions.comparison import (
    ChangedSample,
    NotComparableError,
    ShardChange,
    changed_keys,
    compare,
)
from curator_assets.settings import FilterRule, SettingsError, load_settings

N_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m curator_assets.compare",
        description="Say which images would get another verdict with other filters, eps, keep, "
        "best_by, rule or seed, from what is stored. Nothing is written under output.",
    )
    parser.add_argument(
        "settings",
        nargs="+",
        type=Path,
        metavar="SETTINGS.yaml",
        help="one file: compared with the settings in force; two: the second with the first",
    )
    parser.add_argument("--csv", type=Path, help="write every image that changes to this file")
    parsed = parser.parse_args(arguments)
    if len(parsed.settings) > 2:
        parser.error(f"expected one or two files, got {len(parsed.settings)}")
    before, after = parsed.settings if len(parsed.settings) == 2 else (None, *parsed.settings)
    try:
        first, second = load_settings(before), load_settings(after)
        with ExitStack() as stack:
            shards = compare(first, second)
            if parsed.csv:
                file = stack.enter_context(parsed.csv.open("w", newline=""))
                shards = written(shards, csv.writer(file))
            summary = Summary.of(shards)
    except (SettingsError, NotComparableError, HeadUnavailableError) as error:
        sys.exit(f"can't compare: {error}")
    print_summary(summary, changed_keys(first, second))
    if parsed.csv:
        print(f"\nall changed images: {parsed.csv}")


def written(shards: Iterable[ShardChange], writer: Any) -> Iterator[ShardChange]:
    """The same shards; their changed samples are rows of a CSV file."""
    writer.writerow([field.name for field in fields(ChangedSample)])
    for shard in shards:
        writer.writerows(astuple(sample) for sample in shard.changed)
        yield shard


@dataclass
class Summary:
    """The changes of all shards together; pairs are (before, after).

    Attributes:
        causes: pair of verdicts with their reasons -> samples, where the verdict changes.
        n_other_reason: samples with the same verdict for another reason or another kept image.
        rewritten: shard -> samples kept, of the tars that would be written anew.
        shown: a seeded sample of those with another verdict.
    """

    n_shards: int = 0
    n_pending: int = 0
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
    kept_bytes: tuple[int, int] = (0, 0)
    n_other_reason: int = 0
    rewritten: dict[str, tuple[int, int]] = field(default_factory=dict)
    shown: list[ChangedSample] = field(default_factory=list)

    @classmethod
    def of(cls, shards: Iterable[ShardChange]) -> "Summary":
        """The sum of all shards."""
        summary, random = cls(), Random(0)
        for shard in shards:
            summary._add(shard, random)
        return summary

    def _add(self, shard: ShardChange, random: Random) -> None:
        self.n_shards += 1
        self.n_pending += shard.is_pending
        self.verdicts.update(shard.verdicts)
        before, after = self.kept_bytes
        self.kept_bytes = before + shard.kept_bytes[0], after + shard.kept_bytes[1]
        if shard.rewritten:
            self.rewritten[shard.shard] = shard.n_kept
        for sample in shard.changed:
            if sample.before == sample.after:
                self.n_other_reason += 1
                continue
            self.causes[causes_of(sample)] += 1
            place = random.randrange(self.causes.total())  # each is shown with the same chance
            if len(self.shown) < N_SHOWN:
                self.shown.append(sample)
            elif place < N_SHOWN:
                self.shown[place] = sample

    def n_with(self, verdict: str) -> tuple[int, int]:
        """How many samples have a verdict."""
        before, after = (
            sum(n for pair, n in self.verdicts.items() if pair[side] == verdict) for side in (0, 1)
        )
        return before, after


def causes_of(sample: ChangedSample) -> tuple[str, str]:
    """Both verdicts of a sample with their reasons, in words that many samples share."""
    return cause(sample.before, sample.reason_before), cause(sample.after, sample.reason_after)


def print_summary(summary: Summary, keys: dict[str, tuple[Any, Any]]) -> None:
    """The matrix of verdicts, what is kept, why samples change, and a few of them."""
    print(f"{summary.verdicts.total():,} samples of {summary.n_shards:,} shards, as stored")
    for name, (before, after) in keys.items():
        print(f"  {name}: {_shown(name, before)} -> {_shown(name, after)}")
    print(f"\n{'before / after':<16}" + "".join(f"{verdict:>12}" for verdict in VERDICTS))
    for verdict in VERDICTS:
        counts = (summary.verdicts[verdict, other] for other in VERDICTS)
        print(f"{verdict:<16}" + "".join(f"{n:>12,}" for n in counts))
    _print_kept(summary)
    print(f"\n{summary.causes.total():,} samples get another verdict")
    for (before, after), n in summary.causes.most_common(N_SHOWN):
        print(f"{n:>8,}  {before} -> {after}")
    if summary.n_other_reason:
        print(f"{summary.n_other_reason:,} keep theirs, for another reason or another kept image")
    if summary.shown:
        print("\nsome of them")
    for sample in sorted(summary.shown, key=lambda sample: sample.image_id):
        before, after = causes_of(sample)
        of = f" of {sample.kept_id} at cosine {sample.cosine:.4f}" if sample.kept_id else ""
        print(f"  {sample.image_id}: {before} -> {after}{of}")


def _shown(name: str, value: Any) -> str:
    """A setting; filters as what they drop."""
    if name == "filters" and value:
        return ", ".join(FilterRule.model_validate(rule).reason for rule in value)
    return str(value)


def _print_kept(summary: Summary) -> None:
    n_kept = summary.n_with(KEPT)
    print(f"\n{'':<16}{'before':>12}{'after':>12}{'':>5}change")
    print(_row("kept", n_kept, 1, ""))
    print(_row("image bytes", summary.kept_bytes, 1e6, " MB"))
    print(f"\ntars to be rewritten: {len(summary.rewritten):,} of {summary.n_shards:,}")
    by_loss = sorted(summary.rewritten.items(), key=lambda item: item[1][1] - item[1][0])
    for shard, (before, after) in by_loss[:N_SHOWN]:
        print(f"  {shard}: {before:,} -> {after:,} kept")
    if len(by_loss) > N_SHOWN:
        print(f"  … and {len(by_loss) - N_SHOWN:,} more")
    if summary.n_pending:
        print(
            f"{summary.n_pending:,} tars, as they lie, are not those of the first settings either: "
            "a refresh is due"
        )


def _row(name: str, values: tuple[int, int], unit: float, suffix: str) -> str:
    digits = 0 if unit == 1 else 1
    cells = "".join(f"{f'{value / unit:,.{digits}f}{suffix}':>12}" for value in values)
    change = (values[1] - values[0]) / max(values[0], 1)
    return f"{name:<16}{cells}{'':>5}{change:+.1%}"


if __name__ == "__main__":
    main()
