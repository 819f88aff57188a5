"""A stage of the graph, without Dagster: what its partitions are made from, and how.

A partition is fresh when the ledger holds the fingerprint that its inputs, settings and code have
now, and its files are in place. Assets and `refresh` work through the same stages.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from curator_assets.partitions import cell_groups
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry, Ledger, hash_files, hash_of
from curator_assets.storage.store import Store

Inputs = Mapping[str, Any]
"""Name of an input -> its version."""

CODE = "settings or code"


class MissingInputError(RuntimeError):
    """A partition can't be made because something upstream of it was not made yet."""


@dataclass(frozen=True)
class Work:
    """What every stage works with.

    Attributes:
        shards: the registered shards, in order of arrival.
    """

    settings: Settings
    storage: Storage
    encoder: Encoder
    shards: tuple[str, ...]
    log: logging.Logger

    @cached_property
    def store(self) -> Store:
        """The files under `output`."""
        return self.storage.store

    @cached_property
    def cell_groups(self) -> list[str]:
        """The partitions of `near_duplicate_pairs`."""
        return list(cell_groups(self.settings.clusters.n_cell_groups).get_partition_keys())

    @cached_property
    def ledger(self) -> Ledger:
        """What was made from what; each entry is read once."""
        return self.storage.ledger

    def made_shards(self, asset: str) -> dict[str, Entry]:
        """The shards of which `asset` was made, in order of arrival, with their entries."""
        entries = {shard: self.ledger.read(asset, shard) for shard in self.shards}
        return {shard: entry for shard, entry in entries.items() if entry is not None}

    def require(self, asset: str, partition: str | None = None) -> Entry:
        """The ledger entry of an input.

        Raises:
            MissingInputError: it was never made; says which command makes it.
        """
        entry = self.ledger.read(asset, partition)
        if entry is None:
            which = f" of {partition!r}" if partition else ""
            option = f" --partition {partition}" if partition else ""
            raise MissingInputError(
                f"{asset}{which} has not been made; make it first: "
                f"dagster asset materialize -m curator_assets.definitions --select {asset}{option}"
            )
        return entry

    def require_version(self, asset: str, partition: str | None = None) -> str:
        """The data version of an input.

        Raises:
            MissingInputError: it was never made.
        """
        return self.require(asset, partition).data_version


@dataclass(frozen=True)
class Made:
    """A partition that was made, its files in place.

    Attributes:
        files: names below the store's root.
        metadata: what to report of it.
        checks: name of each check that it passed -> what the check found.
        warnings: name of each check that it failed without being held up -> likewise.
        state: what the stage wants to know next time.
        inputs: what it was made from, where that was not known before.
        tar_version: content fingerprint of the source tar, if it was read for that.
    """

    partition: str | None
    files: tuple[str, ...]
    metadata: Mapping[str, Any]
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    inputs: Inputs | None = None
    tar_version: str | None = None


@dataclass(frozen=True)
class Failed:
    """A partition that could not be made; what stood there before still stands.

    `check` names the check that it failed, if it was one.
    """

    partition: str | None
    error: str
    check: str | None = None


@dataclass(frozen=True)
class Observed:
    """The outcome of a check on the asset as a whole, which holds nothing up."""

    check: str
    passed: bool
    found: Mapping[str, Any]


Outcome = Made | Failed | Observed


@dataclass(frozen=True)
class Stage:
    """How one asset is made.

    Attributes:
        asset: its name.
        code_version: of its code and its own settings.
        inputs: of a partition as it should be now; None if only making it tells. Raises
            `MissingInputError`.
        make: makes partitions, yielding each as it is finished.
    """

    asset: str
    code_version: str
    inputs: Callable[[str | None], Inputs | None]
    make: Callable[[list[str | None]], Iterable[Outcome]]

    def fingerprint(self, inputs: Inputs) -> str:
        """The hash of a partition's inputs, settings and code."""
        return hash_of(self._all(inputs))

    def record(self, made: Made, ledger: Ledger, store: Store) -> Entry:
        """Write the ledger entry of a partition that was made."""
        inputs = made.inputs or self.inputs(made.partition)
        assert inputs is not None, f"{self.asset} was made from inputs it does not tell"
        data_version, files = hash_files(store, list(made.files))
        entry = Entry(
            fingerprint=self.fingerprint(inputs),
            inputs=self._all(inputs),
            data_version=data_version,
            files=files,
            metadata=made.metadata,
            checks=made.checks,
            warnings=made.warnings,
            state=made.state,
        )
        ledger.write(self.asset, made.partition, entry)
        return entry

    def _all(self, inputs: Inputs) -> Inputs:
        return {CODE: self.code_version} | dict(inputs)

    def why_stale(self, partition: str | None, ledger: Ledger) -> str | None:
        """Why a partition has to be made, or None if it is fresh.

        Raises:
            MissingInputError: an input was never made.
        """
        entry, inputs = ledger.read(self.asset, partition), self.inputs(partition)
        if entry is None:
            return "never made"
        if inputs is None:
            return "its input has to be read"
        if entry.fingerprint != self.fingerprint(inputs):
            wanted = self._all(inputs)
            names = sorted(set(wanted) | set(entry.inputs))
            changed = [name for name in names if wanted.get(name) != entry.inputs.get(name)]
            return f"changed: {', '.join(changed)}"
        missing = ledger.missing_files(entry)
        return f"missing: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Examined:
    """Which of some partitions are fresh, stale, or can't be made yet."""

    fresh: dict[str | None, Entry]
    stale: dict[str | None, str]
    failed: list[Failed]


def examine(
    stage: Stage, ledger: Ledger, partitions: Iterable[str | None], *, force: bool = False
) -> Examined:
    """Sort partitions into fresh and stale, with the reason why."""
    examined = Examined({}, {}, [])
    for partition in partitions:
        try:
            reason = "forced" if force else stage.why_stale(partition, ledger)
        except MissingInputError as error:
            examined.failed.append(Failed(partition, str(error)))
            continue
        entry = ledger.read(stage.asset, partition)
        if reason is None and entry is not None:
            examined.fresh[partition] = entry
        else:
            examined.stale[partition] = reason or "never made"
    return examined


@dataclass(frozen=True)
class Recorded:
    """A partition that was made, and its entry in the ledger."""

    made: Made
    entry: Entry


def outcomes(
    stage: Stage, stale: Iterable[str | None], work: Work
) -> Iterator[Recorded | Failed | Observed]:
    """Make the stale partitions and record them.

    A missing input or failing storage fails those that are left.
    """
    left = list(stale)
    try:
        for outcome in stage.make(list(left)) if left else ():
            if not isinstance(outcome, Observed):
                left.remove(outcome.partition)
            yield _recorded(stage, outcome, work) if isinstance(outcome, Made) else outcome
    except MissingInputError as error:
        yield from (Failed(partition, str(error)) for partition in left)
    except OSError as error:
        yield from (Failed(partition, f"storage failed: {error}") for partition in left)


def _recorded(stage: Stage, made: Made, work: Work) -> Recorded | Failed:
    try:
        return Recorded(made, stage.record(made, work.ledger, work.store))
    except OSError as error:
        return Failed(made.partition, f"it was made, but could not be recorded: {error}")
