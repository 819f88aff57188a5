"""The actors of a cluster as the driver sees them: they join, are lost, and are replaced."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from curator_assets.engine.cluster.actor import Actor, Told
from curator_assets.engine.cluster.machine_state import (
    MachineState,
    OtherMachineError,
    require_same,
)
from curator_assets.engine.cluster.places import (
    WorkerSize,
    machines_of,
    memory_fraction,
)
from curator_assets.engine.sent_work import SentWork
from curator_assets.errors import UserError
from curator_assets.number_words import counted

WAIT_SECONDS = 0.5
"""So long the driver waits for somebody to tell something, before it looks around."""

SECONDS_BETWEEN_COUNTS = 2.0
"""So often the machines of the cluster are counted."""

PATIENCE_SECONDS = 300.0
"""So long a cluster in which no worker is may go on without one."""

MAX_IN_VAIN = 3
"""So many workers in a row may be lost before they have joined, if nobody else has."""


class NoWorkerError(UserError):
    """No worker of the cluster can be had."""


@dataclass(frozen=True)
class Lost:
    """A member is no more.

    Attributes:
        why: in words.
    """

    why: str


@dataclass(eq=False)
class Member:
    """An actor.

    Attributes:
        actor: its handle.
        machine: the address of its machine; empty until it has joined.
    """

    actor: Any
    machine: str = ""


@dataclass(frozen=True)
class Begun:
    """A member has begun a job, and nothing was handed to it yet."""


class Crew:
    """The actors that work for one refresh; each does one job after the other.

    Args:
        size: what each of them is given.
        here: the state of the driver's machine, which theirs has to match.
        sent: by which they tell their state; no more of it than that needs.
        log: told who joins and who is lost.

    Attributes:
        n_places: members that the machines hold, as they were counted last.
    """

    def __init__(
        self, size: WorkerSize, here: MachineState, sent: SentWork, log: logging.Logger
    ) -> None:
        self._size, self._here, self._sent, self._log = size, here, sent, log
        self._members, self._idle = list[Member](), list[Member]()
        self._calls = dict[Any, tuple[Member, str]]()
        self.n_places, self._next_count, self._n_in_vain = 0, 0.0, 0
        self._alone_since: float | None = None

    @property
    def joined(self) -> list[Member]:
        """Those who take part."""
        return [member for member in self._members if member.machine]

    def grow(self, n_wanted: int) -> None:
        """Ask for as many members as are wanted and the machines hold; who is there stays.

        Raises:
            NoWorkerError: for `PATIENCE_SECONDS` there was none.
        """
        now = time.monotonic()
        if now < self._next_count:
            return
        self._next_count = now + SECONDS_BETWEEN_COUNTS
        import ray

        machines = machines_of(ray.nodes())
        names = {machine.name for machine in machines}
        for member in [member for member in self._idle if member.machine not in names]:
            self.end(member)
        n_places = self.n_places = sum(self._size.n_on(machine) for machine in machines)
        for _ in range(min(n_wanted, n_places) - len(self._members)):
            self._ask_for_one(memory_fraction(self._size, machines))
        self._require_company(now, len(machines), n_places)

    def _require_company(self, now: float, n_machines: int, n_places: int) -> None:
        """Return if somebody has joined, or was there not too long ago."""
        if self.joined:
            self._alone_since = None
            return
        if self._alone_since is None:
            self._alone_since = now
            self._log.info("waiting for workers of the cluster")
        elif now - self._alone_since > PATIENCE_SECONDS:
            self._alone_since = None
            raise NoWorkerError(
                f"for {PATIENCE_SECONDS:.0f} s the Ray cluster had no place for a worker of "
                f"{self._size}: {counted(n_machines, 'machine')} with "
                f"{counted(n_places, 'place')} in all, held by others; wait for them, or ask for "
                "less with cluster.worker_cpus and cluster.worker_gpus"
            )

    def _ask_for_one(self, fraction: float) -> None:
        import ray

        remote = ray.remote(Actor).options(
            num_cpus=self._size.n_cpus,
            num_gpus=self._size.n_gpus,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        member = Member(remote.remote(self._size.n_cpus, fraction))
        self._members.append(member)
        self._calls[member.actor.state.remote(self._sent)] = member, "state"

    def idle(self) -> list[Member]:
        """Those who have joined and are at nothing."""
        return list(self._idle)

    def begin(self, member: Member, job: Any, sent: Any) -> None:
        """Have an idle member begin a job; `Begun` is heard of it."""
        self._idle.remove(member)
        self._calls[member.actor.begin.remote(job, sent)] = member, "begin"

    def exchange(
        self, member: Member, given: Sequence[str], *, is_last: bool, wants_ahead: bool
    ) -> None:
        """Hand something to a member; what it tells is heard."""
        call = member.actor.exchange.remote(given, is_last=is_last, wants_ahead=wants_ahead)
        self._calls[call] = member, "exchange"

    def rest(self, member: Member) -> None:
        """Have a member whose job is over wait for the next."""
        self._idle.append(member)

    def heard(self) -> Iterator[tuple[Member, Told | Begun | Lost]]:
        """What members that are at a job tell; for a moment none may.

        Raises:
            OtherMachineError: one that wants to join would make something else.
            NoWorkerError: several in a row could not even begin, and none is left.
            Exception: whatever an actor raised.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        if not self._calls:
            time.sleep(WAIT_SECONDS)
            return
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=WAIT_SECONDS)
        for call in ready:
            member, what = self._calls.pop(call)
            try:
                told = ray.get(call)
            except RayTaskError as error:  # raised by what the actor runs
                self.end(member)
                if what != "state":
                    raise error.cause from None
                self._in_vain(f"{type(error.cause).__name__}: {error.cause}")
            except RayError as error:
                self.end(member)
                if what == "state":
                    self._in_vain(_in_short(error))
                    continue
                yield member, Lost(_in_short(error))
            else:
                if what == "state":
                    self._join(member, told)
                    continue
                yield member, told if what == "exchange" else Begun()

    def _join(self, member: Member, state: MachineState) -> None:
        try:
            require_same(self._here, state)
        except OtherMachineError:
            self.end(member)
            raise
        member.machine, self._n_in_vain = state.machine, 0
        self._idle.append(member)
        self._log.info("%s", self.where())

    def _in_vain(self, why: str) -> None:
        """Take note of a worker that was lost before it had joined."""
        self._n_in_vain += 1
        self._log.warning("a worker of the cluster could not begin: %s", why)
        if self._n_in_vain >= MAX_IN_VAIN and not self.joined:
            self._n_in_vain = 0
            raise NoWorkerError(
                f"workers of the Ray cluster can't begin, {MAX_IN_VAIN} in a row and none is left: "
                f"{why}"
            )

    def where(self) -> str:
        """How many members there are, and on how many machines."""
        n_machines = len({member.machine for member in self.joined})
        return f"{counted(len(self.joined), 'worker')} on {counted(n_machines, 'machine')}"

    def end(self, member: Member) -> None:
        """Do without a member, whatever it is at."""
        import ray

        ray.kill(member.actor)
        self._calls = {call: at for call, at in self._calls.items() if at[0] is not member}
        self._members = [one for one in self._members if one is not member]
        self._idle = [one for one in self._idle if one is not member]

    def close(self) -> None:
        """Do without all of them."""
        for member in self._members:
            self.end(member)


def _in_short(error: Exception) -> str:
    """The one sentence of Ray's paragraphs that says why an actor is no more."""
    text = str(error)
    found = re.search(r"(?:exit detail: |The actor is dead because |unavailable: )(.+?)[.\n]", text)
    return found[1] if found else text.strip().partition("\n")[0]
