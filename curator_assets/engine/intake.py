"""Which shards there are: one listing of the source, one order of arrival, one set of partitions.

A shard is known if Dagster's instance has it as a partition or the output holds anything of it;
whatever lacks a rank of arrival or a partition gets it. A known shard is gone only if all of the
source that may hold it was seen, and not too many are gone at once; else it stays as it is, and is
named. `look` changes nothing; `register` and `let_go` do what was seen to be due.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from curator_assets.engine.stage import Graph, Stage
from curator_assets.engine.trash import put_in_trash, take_back
from curator_assets.errors import RemovalsHeldBackError, UserError, named
from curator_assets.garbage import collected_later
from curator_assets.masking import masked_location
from curator_assets.settings import Settings
from curator_assets.storage.arrivals import compact_arrivals, read_arrivals, record_arrivals
from curator_assets.storage.layout import ARRIVALS, SOURCE, ledger_folder, ledger_partition
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.not_taken import (
    GONE,
    NotTaken,
    read_not_taken,
    since,
    still_noted,
)
from curator_assets.storage.shards.shard_names import SHARD_SUFFIX
from curator_assets.storage.shards.source import Looked, MissingSourceError, Signature, Source
from curator_assets.storage.shards.tar_versions import had_size, known_version
from curator_assets.storage.shards.tree import ALL_OF_IT
from curator_assets.storage.store import Store


class LostArrivalsError(UserError):
    """The order of arrival contradicts what was made by it."""


class Registry(Protocol):
    """Where partitions are registered: Dagster's instance."""

    def shards(self) -> Collection[str]:
        """Those that are registered."""

    def add(self, shards: Sequence[str]) -> None:
        """Register shards, in this order."""

    def remove(self, shard: str) -> None:
        """Forget a shard."""

    def regroup(self) -> None:
        """Make partitions of what is registered, where several shards are one."""


@dataclass(frozen=True)
class Intake:
    """What one look at the source, the output and the instance found.

    Attributes:
        shards: those that are whole or known, and there, in order of arrival; with those of which
            the output has something that stays though their tars can't be read.
        unranked: those of them without a rank, in the order in which they get one.
        unregistered: those of them that are no partitions yet, in order of arrival.
        removed: known shards whose tars are gone, to be let go of.
        n_bytes: shard -> size of its tar, of every tar in the source.
        listed: shard -> what the listing told of its tar, likewise.
        not_taken: path below the source -> why it is not taken, and since when.
        held: shards of which the output has an entry, readable or not.
        absent: known shard that stays -> why its tar can't be read.
        gone: those of them whose tars are gone, and not only unseen.
        unseen: folder below the source that can't be listed -> why.
        held_back: why nothing may be let go of, nor made, before a person has looked; None: it may.
    """

    shards: tuple[str, ...]
    unranked: tuple[str, ...]
    unregistered: tuple[str, ...]
    removed: tuple[str, ...]
    n_bytes: Mapping[str, int]
    listed: Mapping[str, Signature]
    not_taken: Mapping[str, NotTaken]
    held: frozenset[str]
    absent: Mapping[str, str]
    gone: tuple[str, ...]
    unseen: Mapping[str, str]
    held_back: str | None


@collected_later()
def look(
    graph: Graph, settings: Settings, registry: Registry, *, allow_removals: bool = False
) -> Intake:
    """What is new, and what is gone; nothing changes.

    Args:
        graph: its stages.
        settings: in force.
        registry: where partitions are registered.
        allow_removals: let go of whatever is seen to be gone, however many.

    Raises:
        MissingSourceError: there is no source folder, and no shard is known.
        LostArrivalsError: ranks of arrival are lost in part.
    """
    store, tars = Store(settings.output), Source(settings.source)
    ranks, unranked = _ranks(graph, store)
    registered, held = set(registry.shards()), _held(graph, store)
    known = registered | held
    try:
        looked = tars.look(settings.output)  # last: what another process takes in is not missed
    except MissingSourceError:
        if not known:
            raise
        looked = Looked({}, {}, {ALL_OF_IT: "there is no such folder"}, {})
    listed = looked.shards
    unknown = {shard: found for shard, found in listed.items() if shard not in known}
    whole, reasons = tars.not_taken(looked, unknown, settings.marker)
    gone, hidden = list[str](), dict[str, str]()
    for shard in sorted(known - listed.keys()):
        if why := looked.why_hidden(shard):
            hidden[shard] = why
        else:
            gone.append(shard)
    may_go = allow_removals or not (
        looked.unseen or hidden or not listed or _too_many(gone, known, settings)
    )
    stays = [] if may_go else gone
    absent = hidden | dict.fromkeys(stays, GONE)
    present = [shard for shard in listed if shard in known or shard in whole]
    present += [shard for shard in absent if shard in held]
    ordered = {*ranks, *unranked}
    unranked += [shard for shard in present if shard not in ordered]
    order = {shard: rank for rank, shard in enumerate([*ranks, *unranked])}
    shards = sorted(present, key=order.__getitem__)
    n_bytes = {shard: signature.size for shard, signature in listed.items()}
    noted = read_not_taken(store)
    reasons |= _still_refused(graph, store, listed, noted)
    reasons |= {shard + SHARD_SUFFIX: why for shard, why in absent.items()}
    return Intake(
        shards=tuple(shards),
        unranked=tuple(unranked),
        unregistered=tuple(shard for shard in shards if shard not in registered),
        removed=tuple(gone if may_go else ()),
        n_bytes=n_bytes,
        listed=listed,
        not_taken=since(reasons, noted),
        held=frozenset(held),
        absent=absent,
        gone=tuple(stays),
        unseen=looked.unseen,
        held_back=_why_held_back(graph, settings, [*gone, *hidden], n_bytes),
    )


def _still_refused(
    graph: Graph, store: Store, listed: Mapping[str, Signature], noted: Mapping[str, NotTaken]
) -> dict[str, str]:
    """Path -> why, of the tars that failed when they were read, and were not read well since."""
    ledger, reasons = Ledger(store), dict[str, str]()
    for path, reason in still_noted(noted, listed.keys()).items():
        shard = path.removesuffix(SHARD_SUFFIX)
        if reason != GONE and not any(
            known_version(ledger, external.name, shard, listed[shard])
            for external in graph.externals()
        ):
            reasons[path] = reason
    return reasons


def _too_many(gone: Sequence[str], known: Collection[str], settings: Settings) -> bool:
    """Whether more are gone than may be let go of unasked."""
    return len(gone) > max(1, settings.max_removed_fraction * len(known))


def _why_held_back(
    graph: Graph, settings: Settings, removed: Sequence[str], n_bytes: Mapping[str, int]
) -> str | None:
    """Why the source may not be the one that the output was made from."""
    source, store = masked_location(settings.source), Store(settings.output)
    made_from = _made_from_another(settings, store)
    if made_from is None:
        return None
    others = [*removed, *_of_other_size(graph, store, n_bytes)]
    if not others:
        return None  # it was moved
    return (
        f"the output {store.location} was made from the source {made_from}; of its shards "
        f"{len(others)} are not in {source} or are other tars there ({named(others)}): "
        "give each source an output of its own, or, if the source was changed on purpose, delete "
        f"{store.url(SOURCE)}, and they are let go of or made again"
    )


def _of_other_size(graph: Graph, store: Store, n_bytes: Mapping[str, int]) -> list[str]:
    """The shards whose tars are not as large as those that were read."""
    ledger = Ledger(store)
    return sorted(
        shard
        for external in graph.externals()
        for shard, entry in ledger.read_all(external.name).items()
        if shard in n_bytes and not had_size(entry, n_bytes[shard])
    )


def _made_from_another(settings: Settings, store: Store) -> str | None:
    """The source that the output remembers, to be shown, if it is not the one in force."""
    found = _read_if_there(store, SOURCE)
    made_from = None if found is None else found.rstrip(b"\r\n")
    if made_from is None or made_from == _source_mark(settings):
        return None
    return masked_location(made_from.decode(errors="replace"))


def _read_if_there(store: Store, name: str) -> bytes | None:
    try:
        return store.read(name)
    except FileNotFoundError:
        return None


def _source_mark(settings: Settings) -> bytes:
    """The source as the output remembers it: from the output, where both are on this machine.

    It is masked, so that it can be stored: the same place by another user is the same source.
    """
    if "://" in settings.source or "://" in settings.output:
        return masked_location(settings.source).encode(errors="surrogateescape")
    # the same after both are moved
    return os.fsencode(os.path.relpath(settings.source, settings.output))


def register(intake: Intake, settings: Settings, registry: Registry) -> None:
    """Give a rank and a partition to what lacks one; safe beside other processes.

    Raises:
        RemovalsHeldBackError: the source may not be the one that the output was made from.
    """
    if intake.held_back:
        raise RemovalsHeldBackError(intake.held_back)
    store = Store(settings.output)
    ranks = read_arrivals(store)
    if intake.unranked:
        ranks = record_arrivals(store, intake.unranked)
    registry.add(sorted(intake.unregistered, key=ranks.__getitem__))
    registry.regroup()


def let_go(intake: Intake, graph: Graph, settings: Settings, registry: Registry) -> None:
    """Forget the shards whose tars are gone, and take back what was made of those that came back.

    To be called under the lease. The rank of arrival stays: a tar that comes back under its
    name takes its old place.

    Raises:
        RemovalsHeldBackError: the source may not be the one that the output was made from, or be
            away.
    """
    if intake.held_back:
        raise RemovalsHeldBackError(intake.held_back)
    store, mark = Store(settings.output), _source_mark(settings)
    for shard in intake.removed:
        put_in_trash(shard, graph, settings)
        registry.remove(shard)
    take_back((s for s in intake.shards if s not in intake.held), graph, settings)
    if _read_if_there(store, SOURCE) != mark:
        with store.write(SOURCE) as file:
            file.write(mark)
    compact_arrivals(store)


def known_shards(graph: Graph, settings: Settings, registry: Registry) -> tuple[str, ...]:
    """The registered shards in order of arrival; one without a rank gets the next, by name.

    Raises:
        LostArrivalsError: ranks of arrival are lost in part.
    """
    store, registered = Store(settings.output), registry.shards()
    ranks, unranked = _ranks(graph, store)
    ordered = {*ranks, *unranked}
    unranked += sorted(shard for shard in registered if shard not in ordered)
    if unranked:
        ranks = record_arrivals(store, unranked)
    return tuple(sorted(registered, key=ranks.__getitem__))


def _ranks(graph: Graph, store: Store) -> tuple[dict[str, int], list[str]]:
    """The ranks, and the shards that get the next ones to have the order back that was lost.

    Raises:
        LostArrivalsError: the ranks contradict the order by which the output was made.
    """
    ranks, order = read_arrivals(store), _order_made_by(graph, store)
    missing = [shard for shard in order if shard not in ranks]
    if ranks and (missing or sorted(order, key=ranks.__getitem__) != order):
        which = f": {named(missing)}" if missing else ""
        raise LostArrivalsError(
            f"the order of arrival in {store.url(ARRIVALS)} is not that by which "
            f"{graph.order.name} was made ({len(missing)} shards are missing{which}); restore the "
            "folder, or delete the whole of it: it is then rebuilt from what was made"
        )
    return ranks, missing


def why_arrivals_damaged(graph: Graph, store: Store) -> str | None:
    """Why the order of arrival can't be gone by, or is gone; None if all is well."""
    try:
        ranks, lost = _ranks(graph, store)
    except UserError as error:
        return str(error)
    return "missing" if lost and not ranks else None


def restore_arrivals(graph: Graph, store: Store) -> None:
    """Record the order of arrival anew from what was made by it, where anything was."""
    if order := _order_made_by(graph, store):
        for name in store.names(ARRIVALS):
            store.remove(name)
        record_arrivals(store, order)


def why_other_source(settings: Settings) -> str | None:
    """What the output says of its source, where that is not the one in force."""
    made_from = _made_from_another(settings, Store(settings.output))
    return made_from and f"it names another source than the settings: {made_from!r}"


def _order_made_by(graph: Graph, store: Store) -> list[str]:
    """The order of arrival by which the output was made; empty if nothing tells it."""
    entry = Ledger(store).read(graph.order.name)
    shards = entry.state.get("shards") if entry else None
    if not isinstance(shards, list):
        return []
    return [str(pair[0]) for pair in shards if isinstance(pair, list) and pair]


def _held(graph: Graph, store: Store) -> set[str]:
    """The shards of which the output has an entry of what is made first, and let go of last."""
    name = _first(graph).name
    found = (ledger_partition(name, path) for path in store.names(ledger_folder(name)))
    return {shard for shard in found if shard is not None}


def _first(graph: Graph) -> Stage:
    return graph.by_shard()[0]
