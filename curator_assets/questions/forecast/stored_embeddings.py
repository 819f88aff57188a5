"""Which tars were embedded as the settings have it now: what may be copied instead of computed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from curator_assets.defs.embed.arithmetic import known_arithmetic
from curator_assets.defs.embed.embedding_weights import weights_in_force
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS, n_images
from curator_assets.defs.embed.stored_tables import RECIPE, StoredTables
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.partitioning import UndecidedError
from curator_assets.engine.trash import trash_store
from curator_assets.engine.work import Work
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.tar_versions import size_when_read


@dataclass(frozen=True)
class EmbeddedTar:
    """A tar that was embedded.

    Attributes:
        n_bytes: of the tar, when it was read.
        n_images: of it, that could be read.
        table_bytes: of the table of its embeddings.
        is_usable: the table is in place, and its rows may be taken by the recipe in force.
    """

    n_bytes: int
    n_images: int
    table_bytes: int
    is_usable: bool


@dataclass(frozen=True)
class StoredEmbeddings:
    """What is embedded already.

    Attributes:
        there: shard that is known -> what was embedded of it.
        gone: what was embedded of tars that are gone, or about to be let go of, and is kept.
    """

    there: Mapping[str, EmbeddedTar]
    gone: tuple[EmbeddedTar, ...]

    @property
    def are_usable(self) -> bool:
        """Whether any can be copied from."""
        return any(one.is_usable for one in (*self.there.values(), *self.gone))


def stored_embeddings(work: Work, fresh: Collection[str]) -> StoredEmbeddings:
    """What is embedded already, by the ledger; no table is read.

    Args:
        work: whose output is looked at.
        fresh: shards whose embeddings were found to be up to date, and in place.
    """
    wanted = tables_in_force(work)
    recipes = wanted.recipes if wanted else ()
    every = dict(_embedded(work.ledger, recipes, fresh))
    there = {shard: every.pop(shard) for shard in work.shards if shard in every}
    trashed = _embedded(Ledger(trash_store(work.settings)), recipes, ())
    return StoredEmbeddings(there, (*every.values(), *(one for _, one in trashed)))


def tables_in_force(work: Work) -> StoredTables | None:
    """Which tables may be taken from; None as long as nothing can be embedded like them."""
    try:
        weights = weights_in_force(work)
    except UndecidedError:
        return None
    arithmetic = known_arithmetic(work, weights)
    return StoredTables.of(work.settings, weights, str(arithmetic)) if arithmetic else None


def _embedded(
    ledger: Ledger, recipes: Collection[str], fresh: Collection[str]
) -> Iterator[tuple[str, EmbeddedTar]]:
    tars = ledger.read_all(TAR_SHARDS.name)
    for shard, entry in ledger.read_all(IMAGE_EMBEDDINGS.name).items():
        n_bytes = size_when_read(tars[shard]) if shard in tars else None
        if n_bytes is None:
            continue
        is_whole = shard in fresh or not ledger.missing_files(entry)
        table_bytes = sum(file.n_bytes for file in entry.files.values())
        is_usable = is_whole and entry.state.get(RECIPE) in recipes
        yield shard, EmbeddedTar(n_bytes, n_images(entry), table_bytes, is_usable)
