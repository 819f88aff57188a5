"""Shards spread over the GPUs of a machine: a process each, with the model loaded once."""

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from multiprocessing.process import BaseProcess
from queue import Empty
from typing import Any

from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.storage.lease import Held

Embed = Callable[[Work, Iterator[str]], Iterator[Any]]
"""Embeds shards in this process, on the device of the work's encoder."""

_POLL_SECONDS = 0.5
_ALL_DONE = "all done"


class WorkerDiedError(RuntimeError):
    """The process of a GPU ended before its work did; what it finished counts."""


def on_every_device(
    embed: Embed, devices: list[str], work: Work, shards: list[str]
) -> Iterator[Any]:
    """What `embed` yields, from a process on each device; each takes the next shard that is left.

    Args:
        embed: a function of a module, or a partial of one.
        devices: torch devices, such as `cuda:0`; one process each.
        work: its settings and storage are taken along, its log is not.
        shards: to embed.

    Raises:
        WorkerDiedError: a process was killed or failed.
        LeaseLostError: another refresh has taken over the output.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    todo, done = context.Queue(), context.Queue()
    for shard in [*shards, *[None] * len(devices)]:
        todo.put(shard)
    dump, guard = work.settings.model_dump(), work.store.guard
    held = (guard.token, guard.run) if guard else None
    workers = [
        context.Process(
            target=_embed_on,
            args=(embed, device, dump, work.shards, held, todo, done),
            name=device,
            daemon=True,
        )
        for device in devices
    ]
    for worker in workers:
        worker.start()
    n_left = len(workers)
    try:
        while n_left:
            try:
                item = done.get(timeout=_POLL_SECONDS)
            except Empty:
                work.store.require_guard()
                _require_alive(workers)
                continue
            if item == _ALL_DONE:
                n_left -= 1
            else:
                yield item
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _require_alive(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        if worker.exitcode:
            raise WorkerDiedError(
                f"the process that embeds on {worker.name} ended with exit code {worker.exitcode} "
                "(-9: killed, often for want of memory); its own output says more. What was "
                "finished counts: run it again"
            )


def _embed_on(
    embed: Embed,
    device: str,
    settings_dump: dict[str, Any],
    shards: tuple[str, ...],
    held: tuple[int, str] | None,
    todo: "multiprocessing.Queue[str | None]",
    done: "multiprocessing.Queue[Any]",
) -> None:
    settings = Settings.model_validate(settings_dump)
    work = Work(settings, shards, logging.getLogger(__name__), device=device)
    guarded = work.store.guarded(Held(work.store, *held)) if held else nullcontext()
    with guarded:
        for item in embed(work, iter(todo.get, None)):
            done.put(item)
    done.put(_ALL_DONE)
