"""Which tars were embedded as the settings have it now: what may be copied instead of computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from curator_assets.defs.embed.arithmetic import known_arithmetic
from curator_assets.defs.embed.embedding_weights import weights_in_force
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.stored_tables import RECIPE, StoredTables
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.partitioning import UndecidedError
from curator_assets.engine.trash import trash_store
from curator_assets.engine.work import Work
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.tar_versions import size_when_read
from curator_assets.storage.store import Store


@dataclass(frozen=True)
class EmbeddedTar:
    """A tar that was embedded.

    Attributes:
        shard: its name.
        store: where its table lies: the output or the trash.
        n_bytes: of the tar, when it was read.
        n_images: of it, that could be read.
        table_bytes: of the table of its embeddings.
        is_whole: its table is in place.
        is_alike: its rows may be taken by the recipe in force.
    """

    shard: str
    store: Store
    n_bytes: int
    n_images: int
    table_bytes: int
    is_whole: bool
    is_alike: bool


@dataclass(frozen=True)
class StoredEmbeddings:
    """What is embedded already.

    Attributes:
        there: shard that is known -> what was embedded of it.
        gone: what was embedded of tars that are gone, or about to be let go of, and is kept.
    """

    there: Mapping[str, EmbeddedTar]
    gone: tuple[EmbeddedTar, ...]

    @cached_property
    def by_size(self) -> Mapping[int, Sequence[EmbeddedTar]]:
        """Bytes of a tar -> those of just this size whose embeddings can be copied."""
        found = defaultdict[int, list[EmbeddedTar]](list)
        for one in self.usable():
            found[one.n_bytes].append(one)
        return dict(found)

    @cached_property
    def n_gone(self) -> int:
        """The images of gone tars whose embeddings can be copied."""
        return sum(one.n_images for one in self.gone if one.is_whole and one.is_alike)

    def usable(self) -> Iterator[EmbeddedTar]:
        """Those that can be copied from."""
        every = (*self.there.values(), *self.gone)
        return (one for one in every if one.is_whole and one.is_alike)


def stored_embeddings(work: Work, fresh: Collection[str]) -> StoredEmbeddings:
    """What is embedded already, by the ledger; no table is read.

    Args:
        work: whose output is looked at.
        fresh: shards whose embeddings were found to be up to date, and in place.
    """
    wanted = tables_in_force(work)
    recipes = wanted.recipes if wanted else ()
    every = dict(_embedded(work.ledger, work.store, recipes, fresh))
    there = {shard: every.pop(shard) for shard in work.shards if shard in every}
    trash = trash_store(work.settings)
    gone = [*every.values(), *dict(_embedded(Ledger(trash), trash, recipes, ())).values()]
    return StoredEmbeddings(there, tuple(gone))


def tables_in_force(work: Work) -> StoredTables | None:
    """Which tables may be taken from; None as long as nothing can be embedded like them."""
    try:
        weights = weights_in_force(work)
    except UndecidedError:
        return None
    arithmetic = known_arithmetic(work, weights)
    return StoredTables.of(work.settings, weights, str(arithmetic)) if arithmetic else None


def _embedded(
    ledger: Ledger, store: Store, recipes: Collection[str], fresh: Collection[str]
) -> Iterator[tuple[str, EmbeddedTar]]:
    tars = ledger.read_all(TAR_SHARDS.name)
    for shard, entry in ledger.read_all(IMAGE_EMBEDDINGS.name).items():
        n_bytes = size_when_read(tars[shard]) if shard in tars else None
        if n_bytes is None:
            continue
        yield (
            shard,
            EmbeddedTar(
                shard=shard,
                store=store,
                n_bytes=n_bytes,
                n_images=entry.state["n_samples"] - entry.state["n_unreadable"],
                table_bytes=sum(file.n_bytes for file in entry.files.values()),
                is_whole=shard in fresh or not ledger.missing_files(entry),
                is_alike=entry.state.get(RECIPE) in recipes,
            ),
        )
