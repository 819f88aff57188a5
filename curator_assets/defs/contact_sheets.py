"""Contact sheets of what was removed, small enough to be reported with a partition.

A picture is for a person to look at: one that can't be had is counted, and fails nothing.
"""

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Any, TypeVar

import pyarrow as pa

from curator_assets.defs.stage import Work
from curator_assets.kernels.thumbnails import contact_sheet, thumbnail
from curator_assets.storage.pixels import Address, read_images

N_PAIRS = 10
N_REASONS = 6
N_PER_REASON = 6

MAX_SHEET_BYTES = 30_000  # ledger and event log carry it, a third larger as text
MAX_IMAGE_BYTES = 16 << 20
_SIDES = (72, 56, 40)

_N_THREADS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


class ContactSheets:
    """Draws the contact sheets of a run's partitions; fetching goes on in any thread.

    Args:
        work: where tars and tables lie; the first failure goes to its log.
    """

    def __init__(self, work: Work) -> None:
        self._work, self._has_failed = work, False

    def of_pairs(self, shard: str, removed: pa.Table) -> dict[str, Any]:
        """Metadata: a seeded sample of a shard's duplicates, each beside its kept one.

        Args:
            shard: seeds the sample.
            removed: its rows of `duplicate_groups`.
        """
        chosen = _sample(range(len(removed)), N_PAIRS, shard)
        rows = removed.take(pa.array(chosen, pa.int64())).sort_by("cosine").to_pylist()
        pairs = [
            [(row["shard"], row["position"]), (row["kept_shard"], row["kept_position"])]
            for row in rows
        ]
        captions = [
            {"removed": row["id"], "kept": row["kept_id"], "cosine": round(row["cosine"], 4)}
            for row in rows
        ]
        return self._draw(pairs, captions)

    def of_reasons(
        self, shard: str, reasons: Sequence[str | None], n_samples: dict[str, int]
    ) -> dict[str, Any]:
        """Metadata: for each reason a seeded sample of the images that were dropped for it.

        Args:
            shard: seeds the sample.
            reasons: why each sample was dropped, by position; None for those without a picture.
            n_samples: of each reason, the row of the most frequent one coming first.
        """
        rows, captions = list[list[Address]](), list[dict[str, Any]]()
        for why in [why for why in n_samples if why in reasons][:N_REASONS]:
            positions = [i for i, reason in enumerate(reasons) if reason == why]
            chosen = _sample(positions, N_PER_REASON, shard)
            rows.append([(shard, position) for position in chosen])
            captions.append({"why": why, "shown": len(chosen), "of": n_samples[why]})
        return self._draw(rows, captions)

    def _draw(
        self, rows: Sequence[Sequence[Address]], captions: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if not rows:
            return {}
        found = dict[Address, bytes]()
        n_wanted = len({address for row in rows for address in row})
        metadata = dict[str, Any]()
        try:
            found = self._thumbnails({address for row in rows for address in row})
        except Exception as error:  # each kind of storage raises its own
            metadata["pictures_error"] = str(error)
            if not self._has_failed:
                self._work.log.warning("contact sheets lack pictures: %s", error)
            self._has_failed = True
        if found:
            sheet = _sheet([[found.get(address) for address in row] for row in rows])
            metadata["pictures"] = "data:image/jpeg;base64," + base64.b64encode(sheet).decode()
            metadata["pictures_show"] = [{"row": i + 1} | row for i, row in enumerate(captions)]
        return metadata | {"n_pictures_missing": n_wanted - len(found)}

    def _thumbnails(self, addresses: set[Address]) -> dict[Address, bytes]:
        work = self._work
        images = read_images(
            work.storage.tars, work.store, sorted(addresses), max_bytes=MAX_IMAGE_BYTES
        )
        small = {address: thumbnail(data, _SIDES[0]) for address, data in images.items()}
        return {address: data for address, data in small.items() if data is not None}


def in_threads(action: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The result of `action` on each item, in order, a few items ahead of the one asked for."""
    with ThreadPoolExecutor(_N_THREADS) as pool:
        ahead = deque[Future[Result]]()
        for item in items:
            ahead.append(pool.submit(action, item))
            if len(ahead) > 2 * _N_THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _sheet(rows: list[list[bytes | None]]) -> bytes:
    sheet = b""
    for side in _SIDES:
        sheet = contact_sheet(rows, side)
        if len(sheet) <= MAX_SHEET_BYTES:
            break
    return sheet


def _sample(items: Sequence[int], n: int, seed: str) -> list[int]:
    return sorted(Random(seed).sample(items, min(n, len(items))))
