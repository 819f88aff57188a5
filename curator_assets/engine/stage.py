"""A stage of the graph as a value: what it is made from, and how; nothing happens by having one.

Assets, order, plan, removal, staleness and the lists in demo and tests derive from the
declarations. The engine loops over partitions; a stage makes one.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curator_assets.control_characters import escaped_lines
from curator_assets.engine.partitioning import Partition, Partitioning
from curator_assets.engine.work import Work
from curator_assets.masking import masked
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry, StoredFile
from curator_assets.storage.versions import hash_of

Inputs = Mapping[str, Any]
"""Name of an input -> its version."""


@dataclass(frozen=True)
class Check:
    """What must hold of a partition; a blocking one that fails keeps the partition from being."""

    name: str
    description: str
    blocking: bool = True


@dataclass(frozen=True, eq=False)
class External:
    """What lies there before anything is made: the tars."""

    name: str
    group: str
    kinds: frozenset[str]
    description: str
    files: Callable[[Partition], tuple[str, ...]]


@dataclass(frozen=True)
class Dep:
    """What a stage is made from.

    Attributes:
        stage: another stage, or the tars.
        is_sampled: a sample was enough: what is added to it later makes nothing stale.
    """

    stage: Stage | External
    is_sampled: bool = False


@dataclass(frozen=True)
class Made:
    """A partition that was made, its files in place.

    Attributes:
        metadata: what to report of it.
        files: names below the store's root; None for those that the stage declares.
        shown: names of further files, which only show what was made: no version rests on them.
        checks: name of each check that it passed -> what the check found.
        warnings: name of each check that it failed without being held up -> likewise.
        state: what the stage wants to know next time.
        inputs: what it was made from, where only making it told.
        read: asset -> the entry of this partition of it, as far as making it told that as well.
        observed: what the stage wants to know once all partitions are made; it is not kept.
    """

    partition: Partition
    metadata: Mapping[str, Any]
    files: tuple[str, ...] | None = None
    shown: tuple[str, ...] = ()
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    inputs: Inputs | None = None
    read: Mapping[str, Entry] = field(default_factory=dict)
    observed: Any = None


@dataclass(frozen=True)
class Finished:
    """A partition that was made, and its files as they were written.

    `n_rows` of it were not told of before.
    """

    made: Made
    files: Mapping[str, StoredFile]
    n_rows: int = 0

    @property
    def partition(self) -> Partition:
        """That was made."""
        return self.made.partition


@dataclass(frozen=True)
class Failed:
    """A partition that could not be made; what stood there before still stands.

    Attributes:
        error: why, as it may be shown: secrets are masked, control characters escaped.
        check: that it failed, if it was one.
        is_of_all: what failed is needed by every partition of the stage: none could be begun.
        lacks_input: something that it is made from was not made.
        damaged: the name of a stored file that can't be read, if that is why.
        is_refused: what it is made from can't be read, or is not as it has to be.
    """

    partition: Partition
    error: str
    check: str | None = None
    is_of_all: bool = False
    lacks_input: bool = False
    damaged: str | None = None
    is_refused: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", escaped_lines(masked(self.error)))


@dataclass(frozen=True)
class Observed:
    """The outcome of a check on the asset as a whole, which holds nothing up."""

    check: str
    passed: bool
    found: Mapping[str, Any]


@dataclass(frozen=True)
class Advanced:
    """Rows of a partition are done, before the whole of it is.

    `n_bytes` of images lie behind them.
    """

    partition: Partition
    n_rows: int
    n_bytes: int = 0


Make = Callable[[Partition], Made]
"""Makes one partition. Raises `PartitionError`; storage may fail as it does."""

Stream = Callable[[Iterable[Partition]], Iterator[Advanced | Made | Finished | Failed]]
"""Makes partitions as they come; tells how far it is in between."""


@dataclass(frozen=True)
class OneByOne:
    """Partitions are made one at a time.

    Attributes:
        open: sets up once what all partitions need.
        n_threads: partitions that wait for storage at the same time.
    """

    open: Callable[[Work], AbstractContextManager[Make]]
    n_threads: int = 1


@dataclass(frozen=True)
class Streamed:
    """Work runs across the ends of partitions.

    Attributes:
        open: sets up once what all partitions need.
    """

    open: Callable[[Work], AbstractContextManager[Stream]]


@dataclass(frozen=True, eq=False)
class Stage:
    """One asset: what it is, what it is made from, how a partition is made.

    Attributes:
        name: of the asset, its ledger entries and its op.
        by: what its partitions are.
        deps: what it is made from.
        group: of the asset in the UI.
        kinds: likewise.
        description: likewise; a line of what it is, then what a partition is, what it costs and
            what makes it stale.
        version: of the code; raised when the code makes something else of the same inputs.
        covers: the settings that change what is made, and no others.
        files: where a partition's files lie, below the store's root.
        inputs: of a partition as it should be now; None if only making it tells. Raises
            `MissingInputError`, `UndecidedError`, or `PartitionError` if it can't be made of them.
        making: how partitions are made.
        checks: what must hold.
        columns: of its table, for the UI; None without a table.
        observe: once all partitions are made: outcomes of the asset as a whole, given what was
            `observed` of those that were made now.
        named_columns: what the columns mean whose names come from the settings.
        unit: what a row is, in the plural.
        counts: what is reported of a partition and adds up over partitions.
        words: a partition, or several of them together, in a sentence: by what is reported, of
            several by the sums of `counts` alone, and the settings in force.
        is_optional: made on request only.
        is_spread: partitions may be made on other machines, each by what storage holds; one that
            is `Streamed` sees to it itself.
    """

    name: str
    by: Partitioning
    deps: tuple[Dep, ...]
    group: str
    kinds: frozenset[str]
    description: str
    version: str
    covers: Callable[[Settings], object]
    files: Callable[[Partition], tuple[str, ...]]
    inputs: Callable[[Work, Partition], Inputs | None]
    making: OneByOne | Streamed
    checks: tuple[Check, ...] = ()
    columns: Callable[[Settings], pa.Schema] | None = None
    observe: Callable[[Work, Sequence[Any]], Iterable[Observed]] | None = None
    named_columns: str | None = None
    unit: str = "rows"
    counts: tuple[str, ...] = ("dagster/row_count",)
    words: Callable[[Mapping[str, Any], Settings], str] | None = None
    is_optional: bool = False
    is_spread: bool = False

    def code_version(self, settings: Settings) -> str:
        """Of its code and the settings that it covers."""
        return f"{self.version}-{hash_of(self.covers(settings))}"

    def stages(self) -> Iterator[Stage]:
        """The stages that it is made from."""
        return (dep.stage for dep in self.deps if isinstance(dep.stage, Stage))

    def externals(self) -> Iterator[External]:
        """What it is made from that no stage makes."""
        return (dep.stage for dep in self.deps if isinstance(dep.stage, External))


@dataclass(frozen=True)
class Graph:
    """The stages of a project.

    Attributes:
        stages: each after those that it is made from.
        order: the stage whose result rests on the order of arrival, which its `state["shards"]`
            keeps as pairs of shard and version.
        home: `module:name`, where other machines find it, for stages are never sent; none if it
            stays here.
    """

    stages: tuple[Stage, ...]
    order: Stage
    home: str = ""

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return pkgutil.resolve_name, (self.home,)

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def externals(self) -> list[External]:
        """What lies there before anything is made."""
        return list(dict.fromkeys(found for stage in self.stages for found in stage.externals()))

    def place(self, stage: Stage) -> str:
        """`3 of 9: `, of what every refresh makes; nothing of what is made on request."""
        always = [one for one in self.stages if not one.is_optional]
        return "" if stage.is_optional else f"{always.index(stage) + 1} of {len(always)}: "

    def by_shard(self) -> list[Stage]:
        """The stages with a partition a shard, in order."""
        return [stage for stage in self.stages if is_by_shard(stage)]


def ancestors(stage: Stage) -> set[Stage]:
    """Every stage that a stage is made from, directly or not."""
    found = set[Stage]()
    for dep in stage.stages():
        found |= {dep} | ancestors(dep)
    return found


def is_by_shard(made: Stage | External) -> bool:
    """Whether a stage, or what lies there before, has a partition a shard."""
    return isinstance(made, External) or made.by is Partitioning.SHARD


def goes_by_partition(stage: Stage, dep: Stage | External) -> bool:
    """Whether a partition of a stage is made from the dep's partition of the same name alone."""
    return is_by_shard(stage) and is_by_shard(dep)
