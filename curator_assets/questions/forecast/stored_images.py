"""Which tars seem to hold what is stored already, told by their sizes and their first images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from curator_assets.errors import DamagedFileError
from curator_assets.questions.forecast.ranges import Range
from curator_assets.questions.forecast.stored_embeddings import EmbeddedTar, StoredEmbeddings
from curator_assets.storage import layout
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import BrokenTarError, TarContent
from curator_assets.storage.tables.parquet import read_table

SAME = Range(0.9, 1.0)
"""The share of what was embedded that a tar of the same size with the same first image holds: most
likely it is that tar, under another name or touched."""

ADDED_TO = Range(0.5, 1.0)
"""Likewise of another size: most likely it was added to."""

OTHER = Range(0.0, 1.0)
"""Likewise if its first image is another."""

N_TARS_COMPARED = 10


class Likely(NamedTuple):
    """What a tar seems to hold: some share of the images of one that was embedded."""

    embedded: EmbeddedTar
    share: Range


def likely_stored(
    shards: Sequence[str], n_bytes: Mapping[str, int], stored: StoredEmbeddings, tars: Source
) -> dict[str, Likely]:
    """What of the tars of some shards seems to be stored; shards that are left out seem new.

    A tar may be the one of its name, or one of its very size: many are, where tars are small or
    filled alike. So the first image is compared, of a few tars; the others are taken to be like
    these if these are all alike.
    """
    candidates = dict[str, list[EmbeddedTar]]()
    for shard in shards:
        before, of_its_size = stored.there.get(shard), stored.by_size.get(n_bytes.get(shard, 0), ())
        found = [before] if before and before.is_whole and before.is_alike else []
        if found := [*found, *of_its_size]:
            candidates[shard] = found
    step = -(-len(candidates) // N_TARS_COMPARED) or 1
    looked = {s: _of_first_image(s, candidates[s], tars) for s in list(candidates)[::step]}
    are_all_found = all(looked.values())
    likely = dict[str, Likely]()
    for shard, found in candidates.items():
        match = looked.get(shard) or (found[0] if shard not in looked and are_all_found else None)
        if match:
            is_same = match.n_bytes == n_bytes[shard]
            likely[shard] = Likely(match, SAME if is_same else ADDED_TO)
        elif shard in stored.there or (shard not in looked and any(looked.values())):
            likely[shard] = Likely(found[0], OTHER)
    return likely


def _of_first_image(
    shard: str, candidates: Sequence[EmbeddedTar], tars: Source
) -> EmbeddedTar | None:
    """The first of some tars that were embedded that begins with the same image as a shard's."""
    try:
        with tars.open(shard) as file:
            images = (sample.image for sample in TarContent(shard).samples(file))
            first = next((image.content_hash for image in images if image), None)
    except (BrokenTarError, OSError):  # a refresh tells of it
        return None
    return next((one for one in candidates if first and first == _first_stored(one)), None)


def _first_stored(embedded: EmbeddedTar) -> str | None:
    try:
        name = layout.embeddings(embedded.shard)
        hashes = read_table(embedded.store, name, ["content_hash"])["content_hash"].drop_null()
    except (DamagedFileError, OSError):
        return None
    return str(hashes[0]) if len(hashes) else None
