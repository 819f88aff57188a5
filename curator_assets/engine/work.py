"""What every stage works with: settings, storage, shards, and what is known of the weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cached_property
from typing import Any, Protocol, TypeVar

from curator_assets.engine.encoder import Encoder
from curator_assets.engine.partitioning import ALL, MissingInputError, Partition, Partitioning
from curator_assets.engine.progress import Watch
from curator_assets.engine.weights import Weights
from curator_assets.errors import DamagedFileError
from curator_assets.masking import masked_error
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.shards.source import Signature, Source
from curator_assets.storage.store import Store
from curator_assets.storage.versions import stored_files

Found = TypeVar("Found")
Job = Callable[["Work", Iterator[Partition]], Iterator[Any]]
"""Makes partitions as they are handed out; can be sent to another machine that has this package."""


class Held:
    """What is costly to open and stays open until a stage is made and observed: one thing."""

    def __init__(self) -> None:
        self._key: object = None
        self._found: Any = None
        self._stack = ExitStack()

    def get(self, key: object, open_it: Callable[[], AbstractContextManager[Found]]) -> Found:
        """What `open_it` opens, opened once as long as it is asked for by the same key."""
        if self._key is None or self._key != key:
            self.close()
            self._found = self._stack.enter_context(open_it())
            self._key = key
        found: Found = self._found
        return found

    def close(self) -> None:
        """Close what is open."""
        self._key = self._found = None
        self._stack.close()


class HasPartitions(Protocol):
    """A stage, as far as it is looked up."""

    @property
    def name(self) -> str:
        """Of its asset."""

    @property
    def by(self) -> Partitioning:
        """What its partitions are."""


class Cluster(Protocol):
    """Other machines, to which work can be sent; what it gives there comes out here."""

    def spread(self, job: Job, work: Work, partitions: Sequence[Partition]) -> Iterator[Any]:
        """What a job gives of partitions, which all workers of the cluster share among them."""

    def alone(self, job: Job, work: Work) -> Iterator[Any]:
        """What a job gives that one worker does, without partitions being handed out."""

    def made(self, stage: Any, work: Work, partitions: Sequence[Partition]) -> Iterator[Any]:
        """What becomes of partitions of a stage, likewise."""

    def where(self) -> str:
        """How many workers there are at the moment, in words."""


class Purpose(Enum):
    """What is asked of the stages."""

    MAKE = auto()
    """Partitions are made and recorded."""
    PLAN = auto()
    """What would be made; nothing changes anywhere."""
    LOOK = auto()
    """What is stored, whatever the tars and this machine are now; nothing changes anywhere."""


@dataclass(frozen=True)
class Work:
    """What every stage works with.

    Attributes:
        settings: in force.
        shards: the known ones, in order of arrival.
        log: of the run.
        purpose: what is asked of the stages.
        device: to embed on, instead of the one that the settings mean.
        n_bytes: shard -> size of its tar, as far as it was listed.
        listed: shard -> what the listing told of its tar, by which what is fresh is told.
        absent: those of the shards whose tars can't be read now, while what was made of them stays.
        watch: who is told how far the work is.
        is_forced: what is made is made from scratch: nothing of it that is stored is looked at.
        forgotten: asset and partition of what was found damaged, and is to be made again.
        blamed: content hash of an image that ends the process which opens it -> its row's error.
        held: what the stage that is made keeps open.
        cluster: where partitions are made by stages that can be spread; None: here.
    """

    settings: Settings
    shards: tuple[str, ...]
    log: logging.Logger
    purpose: Purpose = Purpose.MAKE
    device: str | None = None
    n_bytes: Mapping[str, int] = field(default_factory=dict)
    listed: Mapping[str, Signature] = field(default_factory=dict)
    absent: Container[str] = frozenset()
    watch: Watch = field(default_factory=Watch)
    is_forced: bool = False
    forgotten: set[tuple[str, Partition]] = field(default_factory=set)
    blamed: dict[str, str] = field(default_factory=dict)
    held: Held = field(default_factory=Held)
    cluster: Cluster | None = None

    @cached_property
    def tars(self) -> Source:
        """The tars under `source`."""
        return Source(self.settings.source)

    def signature(self, shard: str) -> Signature:
        """The signature of a tar as it was listed, or of one that was not as it is now.

        Whoever reads the tar asks the source instead.

        Raises:
            FileNotFoundError: the tar is gone.
        """
        return self.listed.get(shard) or self.tars.signature(shard)

    @cached_property
    def store(self) -> Store:
        """The files under `output`."""
        return Store(self.settings.output)

    @cached_property
    def ledger(self) -> Ledger:
        """What was made from what; each entry is read once."""
        return Ledger(self.store)

    @cached_property
    def encoder(self) -> Encoder:
        """The embedding model, not loaded yet, and the decoder that feeds it."""
        encoder = replace(Encoder.of(self.settings), hashes=self.weights.hashes)
        return encoder if self.device is None else replace(encoder, device=self.device)

    @cached_property
    def weights(self) -> Weights:
        """Which weights the settings mean."""
        return Weights(self.settings, self.ledger, is_forced=self.is_forced)

    @cached_property
    def cell_groups(self) -> list[str]:
        """`0000`, `0001`, …: the groups of cells by which pairs are searched."""
        return cell_group_names(self.settings)

    @cached_property
    def _made(self) -> dict[str, tuple[Mapping[str, Entry], Mapping[str, Entry]]]:
        return {}

    @cached_property
    def _found_once(self) -> dict[object, Any]:
        return {}

    def once(self, key: object, find: Callable[[], Found]) -> Found:
        """What `find` returns, found once until something is made."""
        if key not in self._found_once:
            self._found_once[key] = find()
        found: Found = self._found_once[key]
        return found

    def remember(self) -> None:
        """Keep what spares the next one time: what weights hash to, and the ledger in bulk."""
        self.weights.remember()
        self.write_snapshots()

    def write_snapshots(self) -> None:
        """Spare whoever reads the ledger next to open many entries."""
        try:
            self.ledger.write_snapshots()
        except OSError as error:  # it costs time only
            self.log.warning("the ledger's snapshots can't be written: %s", masked_error(error))

    def forget(self) -> None:
        """What was found once is found again: something was made."""
        self._found_once.clear()

    def partitions(self, stage: HasPartitions) -> list[Partition]:
        """The partitions of a stage, in order."""
        match stage.by:
            case Partitioning.SHARD:
                return list(self.shards)
            case Partitioning.CELL_GROUP:
                return list(self.cell_groups)
            case Partitioning.WHOLE:
                return [ALL]

    def made_shards(self, stage: HasPartitions) -> Mapping[str, Entry]:
        """The shards of which a stage was made, in order of arrival, with their entries."""
        entries = self.ledger.read_all(stage.name)
        known = self._made.get(stage.name)
        if known is None or known[0] is not entries:  # another one once anything was recorded
            known = entries, {s: entries[s] for s in self.shards if s in entries}
            self._made[stage.name] = known
        return known[1]

    def entry(self, stage: HasPartitions, partition: Partition = ALL) -> Entry | None:
        """What a partition was made from, or None if it was never made."""
        return self.ledger.read(stage.name, partition or None)

    def require(self, stage: HasPartitions, partition: Partition = ALL) -> Entry:
        """The ledger entry of an input.

        Raises:
            MissingInputError: it was never made; says which command makes it.
        """
        entry = self.entry(stage, partition)
        if entry is None:
            which = f" of {partition!r}" if partition else ""
            option = f" --partition {partition}" if partition else ""
            how = f"dagster asset materialize -m curator_assets.definitions --select {stage.name}"
            if self.settings.shards_per_partition > 1 and stage.by is Partitioning.SHARD:
                how, option = "curate refresh", f" {partition}"
            raise MissingInputError(
                f"{stage.name}{which} has not been made; make it first: {how}{option}"
            )
        return entry

    def require_as_recorded(self, stage: HasPartitions, partition: Partition = ALL) -> Entry:
        """The ledger entry of an input whose files hold what it vouches for, byte for byte.

        A refresh that was killed may have left others of the same size.

        Raises:
            MissingInputError: it was never made; says which command makes it.
            DamagedFileError: a file holds something else, or is not there.
        """
        entry = self.require(stage, partition)
        for name, recorded in entry.files.items():
            try:
                is_same = stored_files(self.store, [name])[name] == recorded
            except FileNotFoundError:
                is_same = False
            if not is_same:
                why = "it is not the file that was recorded"
                raise DamagedFileError(name, self.store.url(name), why)
        return entry

    def version(self, stage: HasPartitions, partition: Partition = ALL) -> str:
        """The data version of an input.

        Raises:
            MissingInputError: it was never made.
        """
        return self.require(stage, partition).data_version

    def versions(self, partition: Partition, *stages: HasPartitions) -> dict[str, str]:
        """Name -> data version of some inputs.

        Raises:
            MissingInputError: one was never made.
        """
        return {stage.name: self.version(stage, partition) for stage in stages}


def cell_group_names(settings: Settings) -> list[str]:
    """The partitions by group of cells."""
    return [f"{group:04d}" for group in range(settings.clusters.n_cell_groups)]
