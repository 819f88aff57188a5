"""Whether all that is stored is as it was recorded; only `forget` changes anything."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from curator_assets.defs.deduplicate.near_duplicate_pairs import RECALL_RECORD
from curator_assets.defs.embed import arithmetic
from curator_assets.defs.output.curation_report import CURATION_REPORT, drop_damaged_summaries
from curator_assets.defs.stages import GRAPH
from curator_assets.engine import rates, weights
from curator_assets.engine.in_order import in_threads
from curator_assets.engine.intake import restore_arrivals, why_arrivals_damaged, why_other_source
from curator_assets.engine.partitioning import ALL, Partition
from curator_assets.engine.progress import Progress
from curator_assets.engine.stage import External, Stage, is_by_shard
from curator_assets.engine.work import Work
from curator_assets.errors import DamagedFileError
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry, Ledger, StoredFile
from curator_assets.storage.retries import with_retries
from curator_assets.storage.tables.parquet import read_table

MISSING, OTHER_BYTES, DAMAGED = "missing", "other bytes", "damaged"

N_THREADS = 8
"""Files that are read at a time; hashing lets go of Python's lock."""

_MADE: tuple[Stage | External, ...] = (*GRAPH.externals(), *GRAPH.stages)
_RECORDS = (weights.RECORD, arithmetic.RECORD, rates.RECORD, RECALL_RECORD)
"""Entries of no asset, which vouch for no file."""


class Trouble(NamedTuple):
    """A file that is not as it was recorded.

    Attributes:
        name: below the output.
        what: is wrong with it.
        asset: that it is of; empty if it is of none.
        partition: likewise.
    """

    name: str
    what: str
    asset: str = ""
    partition: Partition = ALL


@dataclass
class Verified:
    """What was found.

    Attributes:
        n_files: that ledger entries vouch for.
        n_bytes: that were read of them.
        troubles: what is not as it was recorded, by name.
        unvouched: files that no entry vouches for, by name; whose they are is not known.
    """

    n_files: int = 0
    n_bytes: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    unvouched: list[str] = field(default_factory=list)


class _Vouched(NamedTuple):
    """A file as an entry has it."""

    name: str
    stored: StoredFile
    asset: str
    partition: Partition


def verify(work: Work) -> Verified:
    """Read every file that an entry vouches for, and name all that is not as it was recorded.

    Args:
        work: whose store is looked at, and whose watch is told how far it is.
    """
    found, names = Verified(), work.store.names("")
    vouched = list(_vouched(work.ledger))
    sizes = {one.name: float(one.stored.n_bytes) for one in vouched}
    with Progress("verify", "files", sizes, work.log, work.watch) as progress:
        compared = in_threads(partial(_compared, work), vouched, n_threads=N_THREADS)
        for one, (n_bytes, what) in zip(vouched, compared, strict=True):
            found.n_files, found.n_bytes = found.n_files + 1, found.n_bytes + n_bytes
            if what:
                found.troubles.append(Trouble(one.name, what, one.asset, one.partition))
            progress.finish(one.name, 1)
    damaged = list(_damaged_entries(work.ledger))
    found.troubles += [*damaged, *_bookkeeping(work)]
    unknown = [name for name in names if name not in sizes and not layout.is_bookkeeping(name)]
    known = {one[-2:] for one in vouched} | {one[-2:] for one in damaged}
    lost = _without_entry(work, known) if unknown else {}
    for asset, partition in {lost[name] for name in unknown if name in lost}:
        entry = layout.ledger(asset, partition or None)
        found.troubles.append(Trouble(entry, MISSING, asset, partition))
    found.unvouched = unknown
    found.troubles.sort()
    return found


def forget(work: Work, verified: Verified) -> None:
    """Forget what is damaged, so that a refresh makes it again; no file goes but such as it is.

    To be called under the lease.
    """
    report = work.entry(CURATION_REPORT)
    drop_damaged_summaries(work.store, report.files if report else {})
    damaged = {trouble.name for trouble in verified.troubles if not trouble.asset}
    if layout.ARRIVALS in damaged:
        restore_arrivals(GRAPH, work.store)
    if layout.LISTING in damaged:
        work.store.remove(layout.LISTING)  # the sensor looks again
    for asset, partition in {(t.asset, t.partition) for t in verified.troubles if t.asset}:
        if asset not in _BY_SHARD or _tar_is_there(work, partition):
            work.ledger.remove(asset, partition or None)


def _tar_is_there(work: Work, shard: str) -> bool:
    """Whether what was made of a shard can be made again; else all of it is left as it is."""
    try:
        work.tars.signature(shard)
    except OSError:
        return False
    return True


def _entries(ledger: Ledger) -> Iterator[tuple[str, Partition, Entry]]:
    for made in _MADE:
        if entry := ledger.read(made.name):
            yield made.name, ALL, entry
        for partition, entry in ledger.read_all(made.name).items():
            yield made.name, partition, entry


def _vouched(ledger: Ledger) -> Iterator[_Vouched]:
    for asset, partition, entry in _entries(ledger):
        for name, stored in {**entry.files, **entry.reported}.items():
            yield _Vouched(name, stored, asset, partition)


def _compared(work: Work, vouched: _Vouched) -> tuple[int, str | None]:
    """How much of a file was read, and what is wrong with it."""
    name, expected = vouched.name, vouched.stored
    try:
        stored = with_retries(partial(work.store.hash, name), name, work.log)
        what = None if stored == expected else _difference(stored, expected)
        n_bytes = stored.n_bytes
    except FileNotFoundError:
        what, n_bytes = MISSING, 0
    except OSError as error:
        what, n_bytes = f"can't be read: {error.strerror or error}", 0
    if what and _is_made_again(work, vouched):
        what = None
    return n_bytes, what


def _difference(stored: StoredFile, expected: StoredFile) -> str:
    if stored.n_bytes == expected.n_bytes:
        return OTHER_BYTES
    return f"{OTHER_BYTES}: {stored.n_bytes:,}, not {expected.n_bytes:,}"


def _is_made_again(work: Work, vouched: _Vouched) -> bool:
    """Whether a refresh has recorded a file anew since its entry was read."""
    entry = Ledger(work.store).read(vouched.asset, vouched.partition or None)
    now = {**entry.files, **entry.reported}.get(vouched.name) if entry else None
    return now is not None and now != vouched.stored


def _damaged_entries(ledger: Ledger) -> Iterator[Trouble]:
    for asset in (*(made.name for made in _MADE), *_RECORDS):
        for partition, name in ledger.unreadable(asset):
            yield Trouble(name, DAMAGED, asset, partition or ALL)


def _bookkeeping(work: Work) -> Iterator[Trouble]:
    """What the project keeps for itself, and is not as it has to be."""
    if why := why_arrivals_damaged(GRAPH, work.store):
        yield Trouble(layout.ARRIVALS, why)
    if why := why_other_source(work.settings):
        yield Trouble(layout.SOURCE, why)
    try:
        read_table(work.store, layout.LISTING)
    except FileNotFoundError:
        pass
    except DamagedFileError:
        yield Trouble(layout.LISTING, DAMAGED)


def _without_entry(
    work: Work, known: Collection[tuple[str, Partition]]
) -> dict[str, tuple[str, Partition]]:
    """Name -> asset and partition of the files of all that has no entry, readable or not."""
    shards = {partition for asset, partition in known if asset in _BY_SHARD} | {*work.shards}
    return {
        name: (made.name, partition)
        for made in _MADE
        for partition in (shards if is_by_shard(made) else _partitions(work, made))
        if (made.name, partition) not in known
        for name in made.files(partition)
    }


_BY_SHARD = {made.name for made in _MADE if is_by_shard(made)}


def _partitions(work: Work, made: Stage | External) -> Iterable[Partition]:
    return work.partitions(made) if isinstance(made, Stage) else ()
