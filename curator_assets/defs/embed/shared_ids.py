"""Image ids that two shards share: `b/c` in `a.tar` and `c` in `a/b.tar` are both `a/b/c`.

Which of two such images an id means can't be told, so neither shard is curated. That is a property
of what is stored of both, not of the order in which they came: when the second tar arrives a week
after the first, or is embedded alone, the outcome is that of a fresh run. Nothing is embedded
again once one of them is renamed or gone.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.engine.partitioning import PartitionError
from curator_assets.engine.work import Work
from curator_assets.errors import DamagedFileError
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_table


def shards_of_one_id_each(work: Work) -> dict[str, Entry]:
    """The shards that were embedded and share no id with another, in order of arrival."""
    shared = _shared(work)
    made = work.made_shards(IMAGE_EMBEDDINGS)
    return {shard: entry for shard, entry in made.items() if shard not in shared}


def require_own_ids(work: Work, shard: str) -> None:
    """Refuse a shard that shares an image id with another.

    Raises:
        PartitionError: names both shards and an id.
    """
    if shard in (shared := _shared(work)):
        raise PartitionError(shared[shard])


def _shared(work: Work) -> Mapping[str, str]:
    """Shard -> what is said of it and of the one that it shares an id with."""
    return work.once(_shared, lambda: _find(work.store, work.made_shards(IMAGE_EMBEDDINGS)))


def _find(store: Store, shards: Iterable[str]) -> dict[str, str]:
    """Only a shard whose name is a path prefix of another's is read, and those it may share with.

    Of these are read the keys alone.
    """
    there, found = set(shards), dict[str, str]()
    outer = {parent for shard in there for parent in _parents(shard) if parent in there}
    for parent in sorted(outer):
        inner = defaultdict[str, set[str]](set)
        for key in _keys(store, parent):
            for folder in _parents(key):
                if f"{parent}/{folder}" in there:
                    inner[f"{parent}/{folder}"].add(key[len(folder) + 1 :])
        for shard, keys in sorted(inner.items()):
            if twice := keys.intersection(_keys(store, shard)):
                for one in (parent, shard):
                    found.setdefault(one, _told(parent, shard, twice))
    return found


def _told(parent: str, shard: str, keys: set[str]) -> str:
    example = f"{shard}/{min(keys)}"
    return (
        f"shards {parent!r} and {shard!r} both hold a sample with the image id {example!r} "
        f"({len(keys):,} such ids: a key with slashes reads like a folder); rename one of the two "
        "tars. Until then neither is curated, and what was made of them before is left as it is"
    )


def _parents(path: str) -> Iterator[str]:
    """What stands before each slash of a path."""
    for i, character in enumerate(path):
        if character == "/":
            yield path[:i]


def _keys(store: Store, shard: str) -> list[str]:
    """The keys of a shard; none if they can't be read: then its embeddings are made again."""
    try:
        return list(read_table(store, layout.embeddings(shard), ["key"])["key"].to_pylist())
    except (DamagedFileError, OSError):
        return []
