"""Ways to spoil the index of content hashes, none of which may change what is made."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from curator_assets.defs.embed.stored_tables import RECIPE, identity
from curator_assets.storage import layout
from curator_assets.storage.content_index.index import ContentIndex, Keys
from curator_assets.storage.content_index.segment import keys_of
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.shards.tars import content_hash
from curator_assets.storage.store import Store

LOST, TRUNCATED, ANOTHER_BYTE = "lost", "truncated", "another byte"
FOREIGN, LEFT_REPLACED = "foreign", "left replaced"
WAYS = (LOST, TRUNCATED, ANOTHER_BYTE, FOREIGN, LEFT_REPLACED)


def spoil_index(store: Store, how: str, place: int, images: Sequence[bytes]) -> None:
    """Spoil the index of an output.

    Args:
        store: the output.
        how: one of `WAYS`.
        place: of the first byte that is no more, or of the one that is changed.
        images: that may lie in its tars.
    """
    entries = Ledger(store).read_all("image_embeddings")
    if how == FOREIGN:
        _index_what_is_not_so(store, entries, images)
    elif how == LEFT_REPLACED:
        _leave_replaced_tables(store, entries)
    else:
        for path in (Path(store.root) / layout.INDEX).glob("*.segment"):
            data = bytearray(path.read_bytes())
            path.unlink()
            if not data:  # truncated before
                continue
            data[place % len(data)] ^= 1
            if how != LOST:
                path.write_bytes(data[: place % len(data)] if how == TRUNCATED else data)


def _index_what_is_not_so(store: Store, entries: dict[str, Entry], images: Sequence[bytes]) -> None:
    """Segments of a table that is not there, and some that lead to wrong rows, or to none."""
    keys = np.unique(keys_of([content_hash(data) for data in images]))
    index = ContentIndex(store)
    for table in [*map(identity_of, entries.values()), "of another project"]:
        index.add([Keys(table, keys, np.arange(len(keys)))])


def _leave_replaced_tables(store: Store, entries: dict[str, Entry]) -> None:
    """As a killed refresh does; here under names of others, and one that is no table."""
    for shard, other in pairwise([*entries, *entries]):
        source, entry = layout.embeddings(shard), entries[other]
        if store.size(source) is not None:
            how = entry.state[RECIPE], identity_of(entry), store.hash(source).sha256
            store.copy(source, layout.replaced(shard, *how))
    with store.write(layout.replaced("of no shard", "of no model", "of none", "none")) as file:
        file.write(b"no table")


def identity_of(entry: Entry) -> str:
    return identity(entry.state[RECIPE], entry.state["tar"])
