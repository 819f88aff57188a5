"""The tables from which rows of embeddings are taken, and the index that leads to them.

An image's row follows its content hash: whatever tar the image lies in now, under whatever name, it
is neither decoded nor encoded again by the same model in the same arithmetic. The rows that were
made lie in the tables of shards that are there and of those in the trash, where also the tables go
that are made again.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from curator_assets.defs.embed.image_rows import NO_IMAGE, NOT_OF_THE_BYTES, TOO_MANY_BYTES
from curator_assets.engine.in_order import in_threads
from curator_assets.engine.trash import trash_store
from curator_assets.engine.work import Work
from curator_assets.errors import DamagedFileError
from curator_assets.number_words import counted
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.content_index.index import ContentIndex, Keys
from curator_assets.storage.content_index.segment import keys_of, tables_and_rows
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.retries import with_retries
from curator_assets.storage.tables.parquet import read_table
from curator_assets.storage.versions import hash_of

VERSION = "4"
"""Of the code that makes rows of bytes; rows of another one are not taken."""

RECIPE = "recipe"
"""The entry in the state of `image_embeddings`."""

_N_COPIED_AT_ONCE = 16
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
        arithmetic: kind of device, precision and form.
        storage: of embeddings, instead of what the settings say.
    """
    model = settings.model
    code = [VERSION, settings.decode.max_pixels, model.name, model.execution, model.batch_size]
    return hash_of(code, weights, arithmetic, storage or model.storage)


class StoredTable(NamedTuple):
    """The name of a table's file, and its SHA-256 in hex."""

    name: str
    sha256: str


@dataclass(frozen=True)
class StoredTables:
    """Tables whose rows may be taken.

    Attributes:
        recipes: of theirs; those that they are written by now come first.
        by_identity: tells what was made of what, and so which row is of which image.
    """

    recipes: tuple[str, ...]
    by_identity: Mapping[str, StoredTable] = field(default_factory=dict)

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


def stored_tables(work: Work, asset: str, wanted: StoredTables) -> StoredTables:
    """The tables of some recipes that are there.

    Args:
        work: its storage.
        asset: whose tables they are.
        wanted: says the recipes.
    """
    found = {
        table: at
        for table, at, entry in _recorded(work, asset)
        if entry.state[RECIPE] in wanted.recipes
    }
    # what lies in its place may be newer than its entry, if a run was killed
    return StoredTables(wanted.recipes, found | _replaced(work, wanted.recipes))


def keep_replaced(
    work: Work, asset: str, shards: Iterable[str], wanted: StoredTables
) -> dict[str, str]:
    """Keep the tables of shards that are about to be made again: others may need their rows.

    Returns:
        Shard -> name under which its table is kept.
    """
    kept = dict[str, tuple[str, str]]()
    for shard in shards:
        entry = work.ledger.read(asset, shard)
        of = _identity_and_place(shard, entry) if entry else None
        if entry is None or of is None or work.ledger.missing_files(entry):
            continue
        (table, at), how = of, entry.state[RECIPE]
        if how in wanted.recipes:
            kept[shard] = at.name, layout.replaced(shard, how, table, at.sha256)

    def keep(shard: str) -> str | None:
        copy = partial(work.store.copy, *kept[shard])
        try:
            with_retries(copy, f"keeping the table of {shard!r}", work.log)
        except OSError as error:  # what it holds may be computed again
            work.log.warning("the table of %r is not kept: %s", shard, error)
            return None
        return kept[shard][1]

    names = zip(kept, in_threads(keep, kept, n_threads=_N_COPIED_AT_ONCE), strict=True)
    return {shard: name for shard, name in names if name}


def let_go_of_replaced(work: Work, asset: str, kept: Mapping[str, str]) -> None:
    """Of shards that were made again, keep what was replaced last, if it was another table.

    Args:
        work: its storage.
        asset: whose tables they are.
        kept: shard -> name, of `keep_replaced`.
    """
    for shard, name in kept.items():
        entry = work.ledger.read(asset, shard)
        of = _identity_and_place(shard, entry) if entry else None
        is_in_place = entry is not None and not work.ledger.missing_files(entry)
        if of and is_in_place and name.endswith(f".{of[1].sha256}.parquet"):
            work.store.remove(name)
            continue
        for other in work.store.names(layout.replaced_of(shard)):
            parts = layout.replaced_parts(other)
            if parts and parts[0] == shard and other != name:
                work.store.remove(other)


def index_tables(work: Work, asset: str) -> None:
    """Have the index lead to all tables that are there; what is lost or wrong is made again."""
    index = ContentIndex(work.store)
    tables = {table: at for table, at, _ in _recorded(work, asset)} | _replaced(work)
    index.tidy(tables)
    missing = {table: at for table, at in tables.items() if table not in index.tables}
    if missing:
        n = counted(len(missing), "table")
        work.log.info("the rows of %s are indexed by content hash", n)
    index.add(_keys_of_tables(work, missing))
    index.tidy(tables)


def _keys_of_tables(work: Work, tables: Mapping[str, StoredTable]) -> Iterator[Keys]:
    for table, at in tables.items():
        try:
            columns = read_table(work.store, at.name, ["content_hash", "error"])
        except (DamagedFileError, OSError) as error:  # whoever needs the table itself finds out
            work.log.warning("rows of %s can't be taken: %s", at.name, error)
            continue
        yield Keys(table, *shared_keys(columns))


def known_contents(
    work: Work, asset: str, wanted: StoredTables
) -> Callable[[Sequence[str]], np.ndarray]:
    """Tells which content hashes have a row that may be taken, bool [N]; nothing changes.

    Args:
        work: its storage.
        asset: whose tables they are.
        wanted: says the recipes.
    """
    tables = stored_tables(work, asset, wanted).by_identity
    segments = ContentIndex(work.store).segments
    covered = {table for segment in segments for table in segment.tables}
    missing = {table: at for table, at in tables.items() if table not in covered}
    others = [keys.keys for keys in _keys_of_tables(work, missing)]

    def known(content_hashes: Sequence[str]) -> np.ndarray:
        keys = keys_of(content_hashes)
        found = np.isin(keys, np.concatenate([np.zeros(0, np.uint64), *others]))
        for segment in segments:
            which, places = segment.find(keys)
            numbers, _ = tables_and_rows(places)
            is_wanted = np.array([table in tables for table in segment.tables], bool)
            found[which[is_wanted[numbers]]] = True
        return found

    return known


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


def _recorded(work: Work, asset: str) -> Iterator[tuple[str, StoredTable, Entry]]:
    """The identity, the place and the entry of each table, those in the trash first."""
    trash = work.once(trash_store, lambda: Ledger(trash_store(work.settings))).read_all(asset)
    for folder, entries in ((f"{layout.TRASH}/", trash), ("", work.ledger.read_all(asset))):
        for shard, entry in entries.items():
            if of := _identity_and_place(shard, entry):
                table, at = of
                yield table, StoredTable(f"{folder}{at.name}", at.sha256), entry


def _identity_and_place(shard: str, entry: Entry) -> tuple[str, StoredTable] | None:
    """Of the table of an entry; None of one that does not tell."""
    name, how, tar = layout.embeddings(shard), entry.state.get(RECIPE), entry.state.get("tar")
    file = entry.files.get(name)
    if not (isinstance(how, str) and isinstance(tar, str) and file):
        return None
    return identity(how, tar), StoredTable(name, file.sha256)


def _replaced(work: Work, recipes: Collection[str] | None = None) -> dict[str, StoredTable]:
    """Identity and place of the tables that were made again, of some recipes or of all."""
    found = dict[str, StoredTable]()
    for name in work.store.names(layout.REPLACED):
        if parts := layout.replaced_parts(name):
            _, how, table, sha256 = parts
            if recipes is None or how in recipes:
                found[table] = StoredTable(name, sha256)
    return found
