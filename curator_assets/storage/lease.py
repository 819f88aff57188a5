"""One refresh of an output at a time, whichever machines write to it: a lease in the output.

`lease/<token>.json` names a holder; the highest token is the one that counts. It is created only if
there is none of that name, so of several that try one gets it; the next holder takes the next
number, which therefore only grows. A holder writes its file again and again. One that no longer
does is taken over from: whoever waits judges that by its own clock, by how long the file has stayed
the same, for clocks of two machines differ. On the holder's own machine its process is looked at.
Time in which the store did not answer does not count: the holder could not write either. Once the
store is back it writes within `MAX_WAIT_SECONDS` of an outage, or within the 15 s after which s3fs
gives up a request that hangs; both are below `EXPIRY_SECONDS`.

A holder that slept does not know that it was taken over from. So before anything is put in place a
`Store` asks whether there is a higher token. What slips in between that look and the renaming
carries the lower token in its ledger entry's name, and readers take the highest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace

from curator_assets.errors import UserError
from curator_assets.storage import layout
from curator_assets.storage.bucket import interruption
from curator_assets.storage.holder import Holder, decoded, encoded, is_gone, is_this_process, me
from curator_assets.storage.one_host import OneHost, lets_two_create
from curator_assets.storage.store import Store

WAIT_SECONDS = 60.0
"""So long a second refresh waits before it is refused."""

EXPIRY_SECONDS = 40.0
"""A holder whose file stays the same for so long may be taken over from."""

ANSWER_SECONDS = 5.0
"""A look that takes longer has met a store that was away."""

BEAT_SECONDS = 5.0
"""So often a holder writes its file."""

POLL_SECONDS = 0.5
"""So often one that waits looks."""

_LOG = logging.getLogger(__name__)
_held_here = set[str]()
_creating = threading.Lock()  # fsspec's filesystem in memory looks first, then writes


class RefreshRunningError(UserError):
    """Another refresh works on the same output."""


class LeaseLostError(UserError):
    """Another refresh has taken over; nothing more of this one may be put in place."""


@contextmanager
def hold_lease(store: Store, run: str, log: logging.Logger = _LOG) -> Iterator[None]:
    """Hold the lease of an output; in this process all that is put in place there depends on it.

    An interrupt, such as Ctrl-C, ends all waiting for stores that are away, and so the refresh.

    Args:
        store: the output.
        run: id of the run, by which others name it.
        log: told when it has to be waited for.

    Raises:
        RefreshRunningError: another holds it, and did not end within `WAIT_SECONDS`; says which
            run, where, and since when.
        OtherHostError: the store can't decide between hosts, and another one was the last.
        LeaseLostError: another took over meanwhile.
    """
    token, mine = _taken(store, run, log)
    held, ended = Held(store, token, run), threading.Event()
    beating = threading.Thread(target=_beat, args=(held, mine, ended), name="lease", daemon=True)
    with store.guarded(held), interruption.heeded():
        beating.start()
        try:
            _remove_earlier(store, token)
            yield
            held.require()
        finally:
            try:
                ended.set()
                beating.join()
                _write(held, replace(mine, released=True), "let go of")
            finally:
                _held_here.discard(mine.id)


class Held:
    """The lease as the process that holds it knows it, and the processes that it started.

    Args:
        store: the output.
        token: the holder's.
        run: of the holder.
    """

    def __init__(self, store: Store, token: int, run: str) -> None:
        self.store, self.token, self.run = store, token, run
        self._lost: str | None = None

    def require(self) -> None:
        """Return if nobody has taken over.

        Raises:
            LeaseLostError: says who has.
        """
        if self._lost is None and max(_tokens(self.store), default=0) > self.token:
            _, data = _newest(self.store)
            self._lost = (
                f"run {self.run} was taken over from: it gave no sign of life for "
                f"{EXPIRY_SECONDS:.0f} s (its process or machine slept, or could not reach the "
                f"output), and {decoded(data) or 'another refresh'} works on {self.store.location} "
                "now. What it finished before counts, nothing more of it is put in place; run it "
                "again once the other is through"
            )
        if self._lost is not None:
            raise LeaseLostError(self._lost)


@dataclass(frozen=True)
class Look:
    """The lease at one moment.

    Attributes:
        token: the highest; 0 if there is none.
        holder: whose it is; None if there is none, or its file can't be read.
        lives: whether the holder has to be waited for.
    """

    token: int
    holder: Holder | None
    lives: bool

    def __str__(self) -> str:
        return str(self.holder or f"the holder of an unreadable lease, number {self.token}")


class LeaseWatch:
    """Judges by this process's own clock whether the holder of a lease lives; ask it repeatedly."""

    def __init__(self) -> None:
        self._seen: tuple[int, bytes] | None = None
        self._since = 0.0

    def look(self, store: Store) -> Look:
        """The lease now; a holder that nothing else is known of lives until it has expired."""
        now = time.monotonic()  # before it is read: this process may sleep in between
        before, self._seen = self._seen, None  # should there be no answer
        seen = _newest(store)
        answered = time.monotonic()
        was_away = answered - now > ANSWER_SECONDS
        if seen != before or was_away:
            self._since = answered if was_away else now
        self._seen = seen
        token, data = seen
        holder = decoded(data)
        if not token or (holder and (holder.released or is_gone(holder))):
            return Look(token, holder, lives=False)
        if holder and is_this_process(holder):
            return Look(token, holder, lives=holder.id in _held_here)
        return Look(token, holder, lives=now - self._since < EXPIRY_SECONDS)


def _taken(store: Store, run: str, log: logging.Logger) -> tuple[int, Holder]:
    """Take the lease as soon as it is free.

    Raises:
        RefreshRunningError: it is not, within `WAIT_SECONDS`.
        OtherHostError: nobody decides between hosts, and another one was the last.
    """
    watch, is_told = LeaseWatch(), False
    of_one_host = OneHost(store, log) if lets_two_create(store) else None
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with of_one_host.alone() if of_one_host else nullcontext():
            found = watch.look(store)
            if of_one_host and found.token:
                of_one_host.require_here(found.holder)
            if not found.lives:
                token = found.token + 1 if found.token else _first_token(store)
                mine = me(run)
                if _created(store, token, mine, of_one_host):
                    return token, mine
        if time.monotonic() >= deadline:
            raise RefreshRunningError(
                f"a refresh of {store.location} is running: {found}; wait for it, or end that run "
                f"(this one has waited {WAIT_SECONDS:.0f} s)"
            )
        if not is_told:
            log.info("waiting for another refresh to end: %s", found)
            is_told = True
        time.sleep(POLL_SECONDS)


def _first_token(store: Store) -> int:
    """Above those of all entries, should the folder of the lease have been lost."""
    found = map(layout.any_ledger_token, store.names(layout.LEDGER))
    return 1 + max((token for token in found if token is not None), default=0)


def _created(store: Store, token: int, mine: Holder, of_one_host: OneHost | None) -> bool:
    """Create the lease with this token, if nobody was first; it stands for those before it."""
    _held_here.add(mine.id)  # before it can be seen: other threads of this process look too
    try:
        is_mine = _created_as(store, token, mine)
        if is_mine and of_one_host:
            is_mine = of_one_host.stays(layout.lease(token), encoded(mine))
    except BaseException:
        _held_here.discard(mine.id)
        raise
    if not is_mine:
        _held_here.discard(mine.id)
    return is_mine


def _created_as(store: Store, token: int, mine: Holder) -> bool:
    name, data = layout.lease(token), encoded(mine)
    with _creating:
        is_mine = store.create(name, data)
    if not is_mine:
        with suppress(FileNotFoundError):
            is_mine = store.read(name) == data  # a bucket's answer may have been lost
    if not is_mine:
        return False
    tokens = _tokens(store)
    if max(tokens, default=token) > token:  # slept between looking and creating
        store.remove(name)
        return False
    return True


def _remove_earlier(store: Store, token: int) -> None:
    """Remove the leases before this one; its holder is the guard by now, and no thread before."""
    for earlier in _tokens(store):
        if earlier < token:
            store.remove(layout.lease(earlier))


def _beat(held: Held, mine: Holder, ended: threading.Event) -> None:
    """Show that the holder lives, until it ends or is taken over from."""
    beat = 0
    while not ended.wait(BEAT_SECONDS):
        beat += 1
        if not _write(held, replace(mine, beat=beat), "kept"):
            return


def _write(held: Held, holder: Holder, what: str) -> bool:
    """Write the holder's file; whether the lease is still its own."""
    try:
        with held.store.write(layout.lease(held.token)) as file:
            file.write(encoded(holder))
    except LeaseLostError:
        return False
    except Exception as error:  # each kind of storage raises its own
        _LOG.warning("the lease of %s can't be %s: %s", held.store.location, what, error)
    return True


def _newest(store: Store) -> tuple[int, bytes]:
    """The highest token, and its file; 0 if there is none."""
    tokens = list[int]()
    while True:
        before, tokens = tokens, _tokens(store)
        if not tokens:
            return 0, b""
        try:
            return max(tokens), store.read(layout.lease(max(tokens)))
        except FileNotFoundError:  # a newer one has come, which the next look finds
            if tokens == before:
                return max(tokens), b""


def _tokens(store: Store) -> list[int]:
    found = map(layout.lease_token, store.names(layout.LEASE))
    return [token for token in found if token is not None]
