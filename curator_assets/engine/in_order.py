"""Work on items in threads, its results in the items' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    action: Callable[[Item], Result], items: Iterable[Item], *, n_threads: int
) -> Iterator[Result]:
    """The result of `action` on each item, in order; in this thread if there is to be one."""
    if n_threads == 1:
        yield from map(action, items)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        ahead = deque[Future[Result]]()
        for item in items:
            ahead.append(pool.submit(action, item))
            if len(ahead) > 2 * n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
