"""The order in which shards were first seen; it never changes once recorded.

It is a sequence of objects, each the shards of a drop and the rank of the first of them. An object
is named by its number and created only if there is none of that name, so of two processes that
register at once one comes second, looks again and takes the next number. Nothing is ever changed.

Above a hundred objects the next number goes to one that begins at rank 0 and holds every shard so
far: it stands for all before it, which are then removed. A process that looked before that and
slept may create one of those numbers again. Nobody reads it, and the process learns of it, since
it looks again after it has created: an object counts only if it is found from the newest that
begins at rank 0 onwards. A process may be killed anywhere: an object is there whole or not at all,
and those that one at rank 0 stands for may lie there as long as they will.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from curator_assets.errors import UserError
from curator_assets.storage import layout
from curator_assets.storage.store import Store

MAX_OBJECTS = 100


class ArrivalsDamagedError(UserError):
    """An object of the order of arrival is gone or can't be read; ranks must not change for it."""


class _Drop(NamedTuple):
    first_rank: int
    shards: list[str]


class _Sequence(NamedTuple):
    """The ranks, and the numbers of the objects that were there."""

    ranks: dict[str, int]
    numbers: list[int]

    @property
    def next_number(self) -> int:
        return self.numbers[-1] + 1 if self.numbers else 0


def read_arrivals(store: Store) -> dict[str, int]:
    """Shard -> rank, in order of rank; empty if none was recorded.

    Raises:
        ArrivalsDamagedError: an object is damaged or gone.
    """
    return _read(store, {}).ranks


def record_arrivals(store: Store, shards: Iterable[str]) -> dict[str, int]:
    """Give each shard that was never seen the next rank, in the order given.

    Returns:
        shard -> rank of every shard ever seen, in order of rank.

    Raises:
        ArrivalsDamagedError: an object is damaged or gone.
    """
    wanted, known = list(dict.fromkeys(shards)), dict[int, bytes]()
    while True:
        found = _read(store, known)
        new = [shard for shard in wanted if shard not in found.ranks]
        if not new:
            return found.ranks
        # whether this process was the one that created it, and whether it counts, the next look
        # will tell
        name = layout.arrivals(found.next_number)
        store.create(name, _encoded(_Drop(len(found.ranks), new)))


def compact_arrivals(store: Store) -> None:
    """Put one object in the place of all, if there are more than a hundred.

    Raises:
        ArrivalsDamagedError: an object is damaged or gone.
    """
    while True:
        found = _read(store, {})
        if len(found.numbers) <= MAX_OBJECTS:
            return
        whole = _encoded(_Drop(0, list(found.ranks)))
        if store.create(layout.arrivals(found.next_number), whole):
            for number in found.numbers:
                store.remove(layout.arrivals(number))
            return


def _read(store: Store, known: dict[int, bytes]) -> _Sequence:
    """The sequence as it is at one moment; objects in `known` aren't read again.

    Objects are removed only after the one that stands for them was created. So if none has come or
    gone between two listings, the first was whole.
    """
    numbers = _numbers(store)
    while True:
        names = {layout.arrivals(number): number for number in numbers if number not in known}
        known |= {names[name]: data for name, data in store.read_each(names)}
        before, numbers = numbers, _numbers(store)
        if numbers == before:
            return _Sequence(_ranks(store, numbers, known), numbers)


def _numbers(store: Store) -> list[int]:
    found = map(layout.arrivals_number, store.names(layout.ARRIVALS))
    return sorted(number for number in found if number is not None)


def _ranks(store: Store, numbers: Sequence[int], known: dict[int, bytes]) -> dict[str, int]:
    """Shard -> rank, from the newest object on that begins at rank 0."""
    drops = list[tuple[int, _Drop]]()
    for number in reversed(numbers):
        drops.append((number, _decoded(store, number, known.get(number))))
        if drops[-1][1].first_rank == 0:
            break
    ranks = dict[str, int]()
    for number, drop in reversed(drops):
        if drop.first_rank != len(ranks):
            why = f"it begins at rank {drop.first_rank}, and {len(ranks)} shards come before it"
            raise _damaged(store, number, f"{why}: one before it is missing")
        for shard in drop.shards:
            ranks.setdefault(shard, len(ranks))
    return ranks


def _encoded(drop: _Drop) -> bytes:
    return (json.dumps(drop._asdict()) + "\n").encode()


def _decoded(store: Store, number: int, data: bytes | None) -> _Drop:
    """The inverse of `_encoded`, for the object with this number; None is one that can't be read.

    Raises:
        ArrivalsDamagedError: it is damaged.
    """
    try:
        match json.loads(data or b""):
            case {"first_rank": int(rank), "shards": [str(), *_] as shards, **others} if (
                not others
                and rank >= 0
                and not isinstance(rank, bool)
                and all(isinstance(shard, str) for shard in shards)
            ):
                return _Drop(rank, shards)
    except (ValueError, RecursionError) as error:
        raise _damaged(store, number, str(error)) from error
    raise _damaged(store, number, "it is no drop of shards")


def _damaged(store: Store, number: int, why: str) -> ArrivalsDamagedError:
    folder = store.url(layout.ARRIVALS)
    return ArrivalsDamagedError(
        f"the order of arrival in {store.url(layout.arrivals(number))} is damaged ({why}); restore "
        f"{folder} from a backup, or delete the whole of it: the order is then rebuilt from what "
        "was made by it"
    )
