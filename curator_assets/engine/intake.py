"""Which shards there are: one listing of the source, one order of arrival, one set of partitions.

A shard is known if Dagster's instance has it as a partition or the output holds anything of it;
whatever lacks a rank of arrival or a partition gets it. `look` changes nothing; `register` and
`let_go` do what was seen to be due.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from curator_assets.engine.stage import External, Graph, Stage
from curator_assets.engine.work import Work
from curator_assets.errors import RemovalsHeldBackError, UserError, named
from curator_assets.settings import Settings
from curator_assets.storage.arrivals import compact_arrivals, read_arrivals, record_arrivals
from curator_assets.storage.layout import ARRIVALS, SOURCE, ledger_folder, ledger_partition
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_versions import had_size
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


@dataclass(frozen=True)
class Intake:
    """What one look at the source, the output and the instance found.

    Attributes:
        shards: those that are whole or known, and there, in order of arrival.
        unranked: those of them without a rank, in the order in which they get one.
        unregistered: those of them that are no partitions yet, in order of arrival.
        removed: known shards whose tars are gone.
        n_bytes: shard -> size of its tar, of every tar in the source.
        not_taken: tar in the source -> why it is not taken up yet.
        held: shards of which the output has an entry, readable or not.
        held_back: why nothing may be let go of, nor made, before a person has looked; None: it may.
    """

    shards: tuple[str, ...]
    unranked: tuple[str, ...]
    unregistered: tuple[str, ...]
    removed: tuple[str, ...]
    n_bytes: Mapping[str, int]
    not_taken: Mapping[str, str]
    held: frozenset[str]
    held_back: str | None


def look(graph: Graph, settings: Settings, registry: Registry) -> Intake:
    """What is new, and what is gone; nothing changes.

    Raises:
        MissingSourceError: there is no source folder.
        LostArrivalsError: ranks of arrival are lost in part.
    """
    store, tars = Store(settings.output), Source(settings.source)
    ranks, unranked = _ranks(graph, store)
    registered, held = set(registry.shards()), _held(graph, store)
    listed = tars.list_shards()  # last: what another process takes in meanwhile is not missed
    known = registered | held
    unknown = {shard: found for shard, found in listed.items() if shard not in known}
    whole = {shard for block in tars.whole(unknown, settings.marker) for shard in block}
    present = [shard for shard in listed if shard in known or shard in whole]
    ordered = {*ranks, *unranked}
    unranked += [shard for shard in present if shard not in ordered]
    order = {shard: rank for rank, shard in enumerate([*ranks, *unranked])}
    shards = sorted(present, key=order.__getitem__)
    removed = tuple(sorted(shard for shard in known if shard not in listed))
    n_bytes = {shard: signature.size for shard, signature in listed.items()}
    return Intake(
        shards=tuple(shards),
        unranked=tuple(unranked),
        unregistered=tuple(shard for shard in shards if shard not in registered),
        removed=removed,
        n_bytes=n_bytes,
        not_taken={shard: _why_not_taken(settings) for shard in unknown if shard not in whole},
        held=frozenset(held),
        held_back=_why_held_back(graph, settings, removed, n_bytes),
    )


def _why_held_back(
    graph: Graph, settings: Settings, removed: Sequence[str], n_bytes: Mapping[str, int]
) -> str | None:
    """Why the source may not be the one that the output was made from, or may be away."""
    if removed and not n_bytes:
        return (
            f"source {settings.source} lists no tar, but {len(removed)} shards are known; if it is "
            "mounted and truly empty, delete the output, else mount it"
        )
    store = Store(settings.output)
    try:
        made_from = store.read(SOURCE).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    if made_from == _source_mark(settings):
        return None
    others = [*removed, *_of_other_size(graph, store, n_bytes)]
    if not others:
        return None  # it was moved
    return (
        f"the output {settings.output} was made from the source {made_from}; of its shards "
        f"{len(others)} are not in {settings.source} or are other tars there ({named(others)}): "
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


def _source_mark(settings: Settings) -> str:
    """The source as the output remembers it: from the output, where both are on this machine."""
    if "://" in settings.source or "://" in settings.output:
        return settings.source
    return os.path.relpath(settings.source, settings.output)  # the same after both are moved


def _why_not_taken(settings: Settings) -> str:
    if settings.marker is not None:
        return f"no marker file of the same name with {settings.marker} is beside it"
    return "it does not end as tars end: it was cut, or is still being written"


def unread_warning(intake: Intake, graph: Graph, work: Work) -> str | None:
    """One paragraph for a person whose output can't be read; None if all of it can."""
    held = intake.held - {*intake.removed}
    n_unread = len(held) - len(held & work.ledger.read_all(_first(graph).name).keys())
    if not n_unread:
        return None
    return (
        f"{n_unread} shards of the output {work.settings.output} are recorded in a format that "
        "this version does not read (an older one, or damaged): they are made again. Of an older "
        "version's output nothing is carried over; to start clean, name another output or delete "
        "this one"
    )


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


def let_go(intake: Intake, graph: Graph, settings: Settings, registry: Registry) -> None:
    """Forget the shards whose tars are gone; to be called under the refresh lock.

    Raises:
        RemovalsHeldBackError: the source may not be the one that the output was made from, or be
            away.
    """
    if intake.held_back:
        raise RemovalsHeldBackError(intake.held_back)
    store, mark = Store(settings.output), _source_mark(settings).encode(errors="surrogateescape")
    for shard in intake.removed:
        _remove(shard, graph, settings)
        registry.remove(shard)
    if store.size(SOURCE) is None or store.read(SOURCE) != mark:
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
    store = Store(settings.output)
    try:
        made_from = store.read(SOURCE)
    except FileNotFoundError:
        return None
    if made_from == _source_mark(settings).encode(errors="surrogateescape"):
        return None
    return f"it names another source than the settings: {made_from.decode(errors='replace')!r}"


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


def _remove(shard: str, graph: Graph, settings: Settings) -> None:
    """Forget a shard; the files that are kept go to `trash/` unless they are to be erased.

    Ledger entries go first, so that a shard is never vouched for that is half gone. The rank of
    arrival stays: a tar that comes back under its name takes its old place.
    """
    store = Store(settings.output)
    ledger = Ledger(store)
    everything: list[Stage | External] = [*reversed(graph.by_shard()), *graph.externals()]
    for made in everything:
        ledger.remove(made.name, shard)
    for made in everything:
        is_kept = isinstance(made, Stage) and made.is_kept_when_removed
        for name in made.files(shard):
            if is_kept and settings.on_removed != "erase":
                store.move(name, f"trash/{name}")
            else:
                store.remove(name)
