"""`curate compare`: which images other settings would keep or drop."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from random import Random
from typing import Any

from curator_assets.cli.console import say
from curator_assets.defs.output.verdicts import KEPT, VERDICTS, cause
from curator_assets.number_words import count, size
from curator_assets.questions.comparison import (
    ChangedSample,
    ShardChange,
    changed_keys,
    compare,
)
from curator_assets.settings import FilterRule
from curator_assets.settings_file import load_settings
from curator_assets.storage.store import Store
from curator_assets.storage.tables.csv_cells import to_cell

N_SHOWN = 10


def print_comparison(paths: Sequence[Path], csv_file: Path | None) -> None:
    """Print what other settings would change, and write every image that changes.

    Args:
        paths: one file, compared with the settings in force; or two, the second with the first.
        csv_file: to write to.

    Raises:
        SettingsError: a file can't be read.
        NotComparableError: the verdicts can't be known from what is stored.
        HeadUnavailableError: a head that the settings name is not there.
    """
    before, after = (paths[0], paths[1]) if len(paths) == 2 else (None, paths[0])
    first, second = load_settings(before), load_settings(after)
    with ExitStack() as stack:
        stack.enter_context(Store(first.output).pictured())
        shards = compare(first, second)
        if csv_file:
            file = stack.enter_context(csv_file.open("w", newline=""))
            shards = written(shards, csv.writer(file))
        summary = Summary.of(shards)
    print_summary(summary, changed_keys(first, second))
    if csv_file:
        say()
        say(f"all changed images: {csv_file}")


def written(shards: Iterable[ShardChange], writer: Any) -> Iterator[ShardChange]:
    """The same shards; their changed samples are rows of a CSV file."""
    writer.writerow([field.name for field in fields(ChangedSample)])
    for shard in shards:
        writer.writerows(map(_cells, shard.changed))
        yield shard


def _cells(sample: ChangedSample) -> list[Any]:
    """A row of the CSV file."""
    return [to_cell(value) if isinstance(value, str) else value for value in astuple(sample)]


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
    say(f"{summary.verdicts.total():,} samples of {summary.n_shards:,} shards, as stored")
    for name, (before, after) in keys.items():
        say(f"  {name}: {_shown(name, before)} -> {_shown(name, after)}")
    say()
    say(f"{'before / after':<16}" + "".join(f"{verdict:>15}" for verdict in VERDICTS))
    for verdict in VERDICTS:
        counts = (summary.verdicts[verdict, other] for other in VERDICTS)
        say(f"{verdict:<16}" + "".join(f"{n:>15,}" for n in counts))
    _print_kept(summary)
    say()
    say(f"{summary.causes.total():,} samples get another verdict")
    for (before, after), n in summary.causes.most_common(N_SHOWN):
        say(f"{n:>8,}  {before} -> {after}")
    if summary.n_other_reason:
        say(f"{summary.n_other_reason:,} keep theirs, for another reason or another kept image")
    if summary.shown:
        say()
        say("some of them")
    for sample in sorted(summary.shown, key=lambda sample: sample.image_id):
        before, after = causes_of(sample)
        of = f" of {sample.kept_id} at cosine {sample.cosine:.4f}" if sample.kept_id else ""
        say(f"  {sample.image_id}: {before} -> {after}{of}")


def _shown(name: str, value: Any) -> str:
    """A setting; filters as what they drop."""
    if name == "filters" and value:
        return ", ".join(FilterRule.model_validate(rule).reason for rule in value)
    return str(value)


def _print_kept(summary: Summary) -> None:
    n_kept = summary.n_with(KEPT)
    say()
    say(f"{'':<16}{'before':>15}{'after':>15}{'':>5}change")
    say(_row("kept", n_kept, count))
    say(_row("image bytes", summary.kept_bytes, size))
    say()
    say(f"tars to be rewritten: {len(summary.rewritten):,} of {summary.n_shards:,}")
    by_loss = sorted(summary.rewritten.items(), key=lambda item: item[1][1] - item[1][0])
    for shard, (before, after) in by_loss[:N_SHOWN]:
        say(f"  {shard}: {before:,} -> {after:,} kept")
    if len(by_loss) > N_SHOWN:
        say(f"  … and {len(by_loss) - N_SHOWN:,} more")
    if summary.n_pending:
        say(
            f"{summary.n_pending:,} tars, as they lie, are not those of the first settings either: "
            "a refresh is due"
        )


def _row(name: str, values: tuple[int, int], in_words: Callable[[int], str]) -> str:
    cells = "".join(f"{in_words(value):>15}" for value in values)
    change = (values[1] - values[0]) / max(values[0], 1)
    return f"{name:<16}{cells}{'':>5}{change:+.1%}"
