"""Steps that overlap: each runs in a thread of its own, a bounded number of items ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from queue import Empty, Queue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Begun = TypeVar("Begun")
Result = TypeVar("Result")

_POLL_SECONDS = 0.1
_END = object()


def ahead(items: Iterable[Item], depth: int, name: str) -> Generator[Item, None, None]:
    """The same items, produced in a thread up to `depth` items before they are asked for.

    An error in the thread is raised here, after the items before it. Closing the generator ends
    the thread and closes `items` in it.

    Args:
        items: any iterable; from the first item on it is touched in the thread only.
        depth: at least 1.
        name: of the thread.
    """
    return merged([items], depth, name)


def merged(streams: Iterable[Iterable[Item]], depth: int, name: str) -> Generator[Item, None, None]:
    """The items of several iterables as they come, each produced in a thread of its own.

    The first error in a thread is raised here, after the items before it. Closing the generator
    ends the threads and closes each iterable in its thread.

    Args:
        streams: iterables; from the first item on each is touched in its thread only.
        depth: items of each that are produced before they are asked for, at least 1; the next one
            is begun once one of them is taken.
        name: of the threads.
    """
    queue, stopped = Queue[Any](), threading.Event()
    failures = list[BaseException]()

    def is_wanted(room: threading.Semaphore) -> bool:
        while not stopped.is_set():
            if room.acquire(timeout=_POLL_SECONDS):
                return True
        return False

    def produce(items: Iterable[Item], room: threading.Semaphore) -> None:
        try:
            left = iter(items)
            with suppress(StopIteration):
                while is_wanted(room):
                    queue.put((next(left), room))  # no name for it, which would hold it here
        except BaseException as error:  # raised where the items are used
            failures.append(error)
        finally:
            if isinstance(items, Generator):
                items.close()
            queue.put(_END)

    threads = [
        threading.Thread(
            target=produce, args=(items, threading.Semaphore(depth)), name=name, daemon=True
        )
        for items in streams
    ]
    for thread in threads:
        thread.start()
    try:
        n_left = len(threads)
        while n_left and not failures:
            try:
                found = queue.get(timeout=_POLL_SECONDS)
            except Empty:
                continue
            if found is _END:
                n_left -= 1
                continue
            item, room = found
            del found
            room.release()
            yield item
        yield from _left_in(queue)
        if failures:
            raise failures[0]
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _left_in(queue: Queue[Any]) -> Iterator[Any]:
    while True:
        try:
            found = queue.get_nowait()
        except Empty:
            return
        if found is not _END:
            yield found[0]


@dataclass(frozen=True)
class Running(Generic[Result]):
    """Work that was begun; calling it waits for what it gives.

    Attributes:
        futures: of all that is done in threads.
        finish: waits for them, and does what is left.
    """

    futures: Sequence[Future[Any]]
    finish: Callable[[], Result]

    def when_done(self, tell: Callable[[], object]) -> None:
        """Call `tell` once all threads are through; in one of them, or at once."""
        n_done, n = count(1), len(self.futures)

        def one_is_done(_: Future[Any]) -> None:
            if next(n_done) == n:
                tell()

        for future in self.futures:
            future.add_done_callback(one_is_done)
        if not n:
            tell()

    def __call__(self) -> Result:
        """What it gives."""
        return self.finish()


def begun_ahead(
    items: Iterable[Item], begin: Callable[[Item], Begun], depth: int
) -> Iterator[tuple[Item, Begun]]:
    """Each item with what was begun for it; that of the next `depth` items is begun by then.

    Args:
        items: any iterable.
        begin: begins the work on an item and returns before it is done.
        depth: at least 1.
    """
    waiting = deque[tuple[Item, Begun]]()
    for item in items:
        waiting.append((item, begin(item)))
        if len(waiting) > depth:
            yield waiting.popleft()
    yield from waiting
