"""What is let go of with its tar, and taken back when the tar comes back.

The trash lies below `output` and is laid out as the output is, with a ledger of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from curator_assets.engine.stage import External, Graph, Stage
from curator_assets.settings import Settings
from curator_assets.storage.layout import (
    LET_GO,
    REPLACED,
    TO_ERASE,
    TRASH,
    ledger_snapshot,
    let_go,
    let_go_shard,
    to_erase,
    to_erase_shard,
)
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_versions import had_size, read_version, record_version
from curator_assets.storage.shards.tars import BrokenTarError
from curator_assets.storage.store import Store


@dataclass(frozen=True)
class Trashed:
    """What lies in the trash of a shard; `since` is a UTC time, empty if nothing tells."""

    shard: str
    n_files: int
    n_bytes: int
    since: str


def put_in_trash(shard: str, graph: Graph, settings: Settings) -> None:
    """Move all that was made of a shard to the trash.

    Ledger entries go first, so that a shard is never vouched for that is half gone. What is to be
    erased is so by `erase_let_go`, once all is made that may take rows of it.
    """
    store, trash = Store(settings.output), trash_store(settings)
    ledger, kept = Ledger(store), Ledger(trash)
    found = {made.name: ledger.read(made.name, shard) for made in _all_of(graph)}
    names = _names_of(graph, shard)
    if any(found.values()) or any(store.size(n) is not None for n in names):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for name in (to_erase(shard),) * (settings.on_removed == "erase") + (let_go(shard),):
            with trash.write(name) as file:
                file.write(json.dumps({"since": now}).encode())
    for asset, entry in found.items():
        if entry:
            kept.write(asset, shard, entry, _metadata(ledger, asset, shard))
    for made in _all_of(graph):
        ledger.remove(made.name, shard)
    for name in names:
        store.move(name, f"{TRASH}/{name}")


def erase_let_go(graph: Graph, settings: Settings) -> None:
    """Erase what was let go of while the settings said so, and tables that were made again."""
    trash, store = trash_store(settings), Store(settings.output)
    kept = Ledger(trash)
    shards = [shard for shard in map(to_erase_shard, trash.names(TO_ERASE)) if shard]
    if shards:
        for made in _all_of(graph):  # which may still hold their entries
            store.remove(ledger_snapshot(made.name))
    for shard in shards:
        for made in _all_of(graph):
            kept.remove(made.name, shard)
        for name in (*_names_of(graph, shard), let_go(shard), to_erase(shard)):
            trash.remove(name)
    if settings.on_removed == "erase":
        for name in store.names(REPLACED):
            store.remove(name)


def take_back(shards: Iterable[str], graph: Graph, settings: Settings) -> list[str]:
    """Take out of the trash what was made of tars that are back with the content that they had.

    Args:
        shards: of which tars lie in the source, and nothing is made.
        graph: whose stages made it.
        settings: in force.

    Returns:
        The shards of which something was taken back.
    """
    trash = trash_store(settings)
    noted, tars = set(_noted(trash)), Source(settings.source)
    back = list[str]()
    for shard in shards:
        with suppress(OSError):  # it is embedded again, or that meets the same error
            if shard in noted and _take_back(shard, graph, settings, tars):
                back.append(shard)
    return back


def _take_back(shard: str, graph: Graph, settings: Settings, tars: Source) -> bool:
    store, trash = Store(settings.output), trash_store(settings)
    ledger, kept = Ledger(store), Ledger(trash)
    for tar in graph.externals():
        entry = kept.read(tar.name, shard)
        try:
            signature = tars.signature(shard)
            if entry is None or not had_size(entry, signature.size):
                return False
            version, content = read_version(kept, tar.name, tars, shard)
        except (OSError, BrokenTarError):  # embedding it meets the same error, and reports it
            return False
        if version != entry.data_version:
            return False
        if content is not None:  # it was touched; read once is enough
            record_version(trash, kept, tar.name, shard, signature, content)
    for made in _all_of(graph):
        _restore(made, shard, store, trash, ledger, kept)
    if not any(kept.read(made.name, shard) for made in _all_of(graph)):
        trash.remove(let_go(shard))
    return True


def _restore(
    made: Stage | External, shard: str, store: Store, trash: Store, ledger: Ledger, kept: Ledger
) -> None:
    """Move what was made of a shard back, its entry last; left out is what is not as it was."""
    entry = kept.read(made.name, shard)
    if entry is None:
        return
    for name, file in entry.files.items():
        if trash.size(name) == file.n_bytes and trash.hash(name) == file:
            store.move(f"{TRASH}/{name}", name)
    if not ledger.missing_files(entry):
        ledger.write(made.name, shard, entry, _metadata(kept, made.name, shard))
        kept.remove(made.name, shard)


def trashed(graph: Graph, settings: Settings) -> Iterator[Trashed]:
    """What lies in the trash, shard by shard."""
    trash = trash_store(settings)
    for shard in _noted(trash):
        sizes = [n for n in map(trash.size, _names_of(graph, shard)) if n is not None]
        yield Trashed(shard, len(sizes), sum(sizes), _since(trash, shard))


def replaced_tables(settings: Settings) -> tuple[int, int]:
    """How many tables of embeddings lie in the trash that were made again, and their bytes."""
    store = Store(settings.output)
    sizes = [store.size(name) or 0 for name in store.names(REPLACED)]
    return len(sizes), sum(sizes)


def empty_trash(settings: Settings) -> None:
    """Erase all that lies in the trash; to be called under the lease."""
    trash = trash_store(settings)
    trash.require_guard()
    if trash.is_local:
        with suppress(FileNotFoundError):
            shutil.rmtree(trash.root)
    else:
        for name in trash.names(""):
            trash.remove(name)


def trash_store(settings: Settings) -> Store:
    """What lies in the trash, laid out as the output is."""
    return Store(f"{settings.output.rstrip('/')}/{TRASH}")


def _noted(trash: Store) -> list[str]:
    found = map(let_go_shard, trash.names(LET_GO))
    return [shard for shard in found if shard is not None]


def _since(trash: Store, shard: str) -> str:
    try:
        return str(json.loads(trash.read(let_go(shard)))["since"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""


def _names_of(graph: Graph, shard: str) -> list[str]:
    return list(dict.fromkeys(name for made in _all_of(graph) for name in made.files(shard)))


def _all_of(graph: Graph) -> list[Stage | External]:
    """What is made of a shard, the last first; the tar's own version at the end."""
    return [*reversed(graph.by_shard()), *graph.externals()]


def _metadata(ledger: Ledger, asset: str, shard: str) -> dict[str, Any]:
    try:
        return ledger.read_metadata(asset, shard)
    except ValueError:  # what was reported is no result: it holds nothing up
        return {}
