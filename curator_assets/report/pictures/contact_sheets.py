"""Contact sheets of what was removed from a shard: a JPEG file beside the report, to look at.

A picture is for a person to look at: one that can't be had is counted, and fails nothing.
"""

import logging
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa

from curator_assets.errors import DamagedFileError
from curator_assets.kernels.thumbnails import contact_sheet, thumbnail
from curator_assets.masking import masked
from curator_assets.storage import layout
from curator_assets.storage.shards.pixels import Address, read_images
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store

N_PAIRS = 10
N_REASONS = 6
N_PER_REASON = 6

MAX_SHEET_BYTES = 300_000
MAX_IMAGE_BYTES = 16 << 20
_SIDES = (240, 200, 160, 120, 80)
"""Of a picture in pixels, the first with which a sheet is small enough."""


class Sheet(NamedTuple):
    """A contact sheet as it was written.

    Attributes:
        metadata: where it lies and what it shows.
        files: its name below the store's root; none where there was nothing to show.
    """

    metadata: dict[str, Any]
    files: tuple[str, ...]


class ContactSheets:
    """Draws the contact sheets of a run's partitions; fetching goes on in any thread.

    Args:
        asset: of whose partitions they are.
        tars: where the images lie.
        store: where the tables lie, and the sheets are written.
        log: told of the first failure.
    """

    def __init__(self, asset: str, tars: Source, store: Store, log: logging.Logger) -> None:
        self._asset, self._tars, self._store, self._log = asset, tars, store, log
        self._has_failed = False

    def of_pairs(self, shard: str, removed: pa.Table) -> Sheet:
        """A seeded sample of a shard's duplicates, each beside its kept one.

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
        return self._written(shard, pairs, captions)

    def of_reasons(
        self, shard: str, reasons: Sequence[str | None], n_samples: dict[str, int]
    ) -> Sheet:
        """For each reason a seeded sample of the images that were dropped for it.

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
        return self._written(shard, rows, captions)

    def _written(
        self, shard: str, rows: Sequence[Sequence[Address]], captions: list[dict[str, Any]]
    ) -> Sheet:
        """The sheet of these rows, in the place of the one that the shard had before."""
        name = layout.contact_sheet(self._asset, shard)
        wanted = {address for row in rows for address in row}
        found, metadata = dict[Address, bytes](), dict[str, Any]()
        try:
            found = self._thumbnails(wanted) if wanted else {}
        except DamagedFileError:  # of a table that is made again
            raise
        except Exception as error:  # each kind of storage raises its own
            metadata["sheet_error"] = str(error)
            if not self._has_failed:
                self._log.warning("contact sheets lack pictures: %s", masked(str(error)))
            self._has_failed = True
        metadata |= {"n_pictures_missing": len(wanted) - len(found)} if wanted else {}
        if not found:
            self._store.remove(name)
            return Sheet(metadata, ())
        with self._store.write(name) as file:
            file.write(_sheet([[found.get(address) for address in row] for row in rows]))
        metadata["sheet"] = self._store.url(name)
        metadata["sheet_rows"] = [{"row": i + 1} | row for i, row in enumerate(captions)]
        return Sheet(metadata, (name,))

    def _thumbnails(self, addresses: set[Address]) -> dict[Address, bytes]:
        images = read_images(self._tars, self._store, sorted(addresses), max_bytes=MAX_IMAGE_BYTES)
        small = {address: thumbnail(data, _SIDES[0]) for address, data in images.items()}
        return {address: data for address, data in small.items() if data is not None}


def _sheet(rows: list[list[bytes | None]]) -> bytes:
    sheet = b""
    for side in _SIDES:
        sheet = contact_sheet(rows, side)
        if len(sheet) <= MAX_SHEET_BYTES:
            break
    return sheet


def _sample(items: Sequence[int], n: int, seed: str) -> list[int]:
    return sorted(Random(seed).sample(items, min(n, len(items))))
