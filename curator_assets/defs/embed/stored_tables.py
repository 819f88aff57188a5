"""The tables from which rows of embeddings are taken, and the index that leads to them.

An image's row follows its content hash: whatever tar the image lies in now, under whatever name, it
is neither decoded nor encoded again by the same model in the same arithmetic. The rows that were
made lie in the tables of shards that are there, of those in the trash, and of those that are being
replaced, which are set aside until all are made.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa

from curator_assets.defs.embed.image_rows import NO_IMAGE, NOT_OF_THE_BYTES, TOO_MANY_BYTES
from curator_assets.engine.trash import trash_of
from curator_assets.engine.work import Work
from curator_assets.errors import DamagedFileError
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.content_index.index import ContentIndex, Keys
from curator_assets.storage.content_index.segment import keys_of
from curator_assets.storage.ledger import Entry, Ledger, hash_of
from curator_assets.storage.tables.parquet import read_table

VERSION = "4"
"""Of the code that makes rows of bytes; rows of another one are not taken."""

RECIPE = "recipe"
"""The entry in the state of `image_embeddings`."""

IDENTITY = "identity"
"""The entry in the metadata of a table."""

_NOT_DECODED = [NO_IMAGE, TOO_MANY_BYTES, *NOT_OF_THE_BYTES]


def recipe(
    settings: Settings,
    weights: str,
    arithmetic: str,
    storage: Literal["float32", "float16"] | None = None,
) -> str:
    """Of all that decides what is made of the bytes of an image.

    Args:
        settings: in force.
        weights: of the model.
        arithmetic: kind of device, and precision.
        storage: of embeddings, instead of what the settings say.
    """
    model = settings.model
    code = [VERSION, settings.decode.max_pixels, model.name, model.execution, model.batch_size]
    return hash_of(code, weights, arithmetic, storage or model.storage)


@dataclass(frozen=True)
class StoredTables:
    """Tables whose rows may be taken.

    Attributes:
        recipes: of theirs; those that they are written by now come first.
        names: identity of a table -> its name.
    """

    recipes: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, weights: str, arithmetic: str) -> "StoredTables":
        """None as yet; float16 may be rounded from float32, as it is when it is made."""
        recipes = [recipe(settings, weights, arithmetic)]
        if settings.model.storage == "float16":
            recipes.append(recipe(settings, weights, arithmetic, "float32"))
        return cls(tuple(recipes))


def identity(recipe: str, tar: str) -> str:
    """The same for all tables that hold the same rows in the same order.

    Args:
        recipe: by which they were made.
        tar: content fingerprint of what they were made of.
    """
    return hash_of(recipe, tar)


def _identity(entry: Entry) -> str | None:
    """Of the table of an entry; None of one that does not tell."""
    how, tar = entry.state.get(RECIPE), entry.state.get("tar")
    return identity(how, tar) if isinstance(how, str) and isinstance(tar, str) else None


def stored_tables(work: Work, asset: str, wanted: StoredTables) -> StoredTables:
    """The tables of some recipes that are there.

    Args:
        work: its storage.
        asset: whose tables they are.
        wanted: says the recipes.
    """
    names = dict[str, str]()
    for name, entry in _entries(work, asset):
        if entry.state.get(RECIPE) in wanted.recipes and (table := _identity(entry)):
            names[table] = name
    # what lies in its place may be newer than its entry, if a run was killed
    return StoredTables(wanted.recipes, names | _set_aside(work, wanted.recipes))


def set_aside(work: Work, asset: str, shards: Iterable[str], wanted: StoredTables) -> None:
    """Keep the tables of shards that are about to be made again: others may need their rows."""
    for shard in shards:
        entry, name = work.ledger.read(asset, shard), layout.embeddings(shard)
        how = entry and str(entry.state.get(RECIPE))
        if entry is None or how not in wanted.recipes or work.ledger.missing_files(entry):
            continue
        if table := _identity(entry):
            work.store.copy(name, layout.set_aside(how, table))


def let_go_of_set_aside(work: Work) -> None:
    """Remove what was set aside."""
    for name in work.store.names(layout.SET_ASIDE):
        work.store.remove(name)


def index_tables(work: Work, asset: str) -> ContentIndex:
    """The index, led to all tables that are there; what is lost or wrong of it is made again."""
    index = ContentIndex(work.store)
    names = {table: name for name, e in _entries(work, asset) if (table := _identity(e))}
    names |= _set_aside(work, None)
    index.tidy(names)
    missing = {table: name for table, name in names.items() if table not in index.tables}
    if missing:
        work.log.info("the rows of %d tables are indexed by content hash", len(missing))
    index.add(_keys_of_tables(work, missing))
    index.tidy(names)
    return index


def _keys_of_tables(work: Work, names: Mapping[str, str]) -> Iterator[Keys]:
    for table, name in names.items():
        try:
            columns = read_table(work.store, name, ["content_hash", "error"])
        except (DamagedFileError, OSError) as error:  # whoever needs the table itself finds out
            work.log.warning("rows of %s can't be taken: %s", name, error)
            continue
        yield Keys(table, *shared_keys(columns))


def shared_keys(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The keys of rows that are the same for all images of the same bytes, and their numbers.

    Args:
        rows: with `content_hash` and `error`.

    Returns:
        uint64 [R] and int64 [R], of rows of one key the first.
    """
    hashes, errors = rows["content_hash"].to_pylist(), rows["error"].to_pylist()
    numbers = [
        i
        for i, (name, error) in enumerate(zip(hashes, errors, strict=True))
        if name is not None and error not in _NOT_DECODED
    ]
    keys, first = np.unique(keys_of([hashes[i] for i in numbers]), return_index=True)
    return keys, np.array(numbers, np.int64)[first]


def _entries(work: Work, asset: str) -> Iterator[tuple[str, Entry]]:
    """The name and the entry of each table, those in the trash first."""
    for shard, entry in Ledger(trash_of(work.settings)).read_all(asset).items():
        yield f"{layout.TRASH}/{layout.embeddings(shard)}", entry
    for shard, entry in work.ledger.read_all(asset).items():
        yield layout.embeddings(shard), entry


def _set_aside(work: Work, recipes: Collection[str] | None) -> dict[str, str]:
    """Identity and name of the tables that were set aside, of some recipes or of all."""
    found = ((layout.set_aside_of(name), name) for name in work.store.names(layout.SET_ASIDE))
    return {of[1]: name for of, name in found if of and (recipes is None or of[0] in recipes)}
