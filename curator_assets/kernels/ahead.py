"""Steps that overlap: each runs in a thread of its own, a bounded number of items ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")
Begun = TypeVar("Begun")

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
    queue, stopped = Queue[Any](maxsize=depth), threading.Event()
    failure = list[BaseException]()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_POLL_SECONDS)
                return True
            except Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as error:  # raised where the items are used
            failure.append(error)
        finally:
            if isinstance(items, Generator):
                items.close()
            put(_END)

    thread = threading.Thread(target=produce, name=name, daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = queue.get(timeout=_POLL_SECONDS)
            except Empty:
                continue
            if item is _END:
                break
            yield item
        if failure:
            raise failure[0]
    finally:
        stopped.set()
        thread.join()


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
