"""Work as another process is given it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.storage.lease import Held


@dataclass(frozen=True)
class SentWork:
    """What `Work` is made of, where it is done for another process.

    Attributes:
        settings: in force there, as plain values; without a cluster, for what is sent stays there.
        shards: the known ones, in order of arrival.
        n_bytes: shard -> size of its tar, as far as it was listed.
        absent: shards whose tars can't be read now.
        is_forced: nothing that is stored is looked at.
        held: token and run of the lease, if it is held.
    """

    settings: dict[str, Any]
    shards: tuple[str, ...]
    n_bytes: dict[str, int]
    absent: frozenset[str]
    is_forced: bool
    held: tuple[int, str] | None

    @classmethod
    def of(cls, work: Work) -> SentWork:
        """Some work, to be done on machines of its own."""
        guard, settings = work.store.guard, work.settings.model_dump()
        del settings["cluster"]
        return cls(
            settings=settings,
            shards=work.shards,
            n_bytes=dict(work.n_bytes),
            absent=frozenset(shard for shard in work.shards if shard in work.absent),
            is_forced=work.is_forced,
            held=(guard.token, guard.run) if guard else None,
        )

    def work(self, log: logging.Logger, device: str | None = None) -> Work:
        """The work, where it is done."""
        return Work(
            Settings.model_validate(self.settings),
            self.shards,
            log,
            device=device,
            n_bytes=self.n_bytes,
            absent=self.absent,
            is_forced=self.is_forced,
        )

    def guarded(self, work: Work) -> AbstractContextManager[None]:
        """While it lasts, nothing is put in place once the lease is lost."""
        if self.held is None:
            return nullcontext()
        return work.store.guarded(Held(work.store, *self.held))
