"""New shards out of samples, each whole or not at all, in an order that a kill does not change."""

from __future__ import annotations

import fcntl
import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from pathlib import Path

from pydantic import BaseModel

from curator_assets.errors import named
from curator_assets.models.hashes import Hashes
from curator_assets.packing.image_files import Found
from curator_assets.packing.packable import Packable, PackError
from curator_assets.packing.parquet_rows import packable_rows, row_stem
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import write_tar
from curator_assets.storage.store import Store

MAX_SHARD_BYTES = 1_000_000_000
"""A shard with as many bytes of members is full."""

RECORD = ".pack.json"
LOCK = ".pack.lock"

_Sample = list[tuple[str, bytes]]
"""Name and data of each member."""

_SHARD = re.compile(r"\d{5,}")


class Record(BaseModel):
    """What lies beside the shards: where they are from.

    Attributes:
        folder: that was packed.
        samples: of a shard, at most.
        parquet: path below the folder -> the file whose rows are packed.
    """

    folder: str
    samples: int
    parquet: dict[str, PackedFile] = {}


class PackedFile(BaseModel):
    """A file as it was when its rows were packed; read again only if size or time differ.

    `sha256` as `Hashes` has it.
    """

    n_bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Packed:
    """A shard that was written."""

    path: Path
    n_samples: int
    n_bytes: int


@dataclass
class _Held:
    """A sample in a shard that is there: extension and size of each member."""

    shard: Path
    sizes: list[tuple[str, int]] = field(default_factory=list)


def pack(root: Path, found: Found, into: Path, *, n_samples: int) -> Iterator[Packed]:
    """Write what was found and is not packed yet into new shards; those that are there stay.

    Args:
        root: the folder that was searched.
        found: in it.
        into: a folder.
        n_samples: of a shard, at most.

    Raises:
        PackError: the shards there are of another folder or another size, something was changed
            since it was packed, or another process packs into the same folder.
    """
    into.mkdir(parents=True, exist_ok=True)
    with (into / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PackError(f"another `curate pack` writes to {into}; wait for it") from None
        for left_by_a_killed_one in into.glob(".*.tar.*.partial"):
            left_by_a_killed_one.unlink()
        yield from _packed(root, found, into, n_samples)


def _packed(root: Path, found: Found, into: Path, n_samples: int) -> Iterator[Packed]:
    store, before = Store(str(into)), _shards(into)
    record = _record(store, root, n_samples, n_before=len(before))
    _require_unchanged(root, found, record)
    _require_own_keys(root, found)
    held = _held(before)
    number = 1 + max((int(path.stem) for path in before), default=-1)
    for samples in _shares(_left(root, found, held, record), n_samples):
        path = into / f"{number:05d}.tar"
        with store.write(RECORD) as file:
            file.write(record.model_dump_json().encode())
        with store.write(path.name) as file:
            members = [member for sample in samples for member in sample]
            write_tar(file, ((name, len(data), BytesIO(data)) for name, data in members))
        n_bytes = sum(len(data) for _, data in members)
        yield Packed(path, len(samples), n_bytes)
        number += 1


def _shards(into: Path) -> list[Path]:
    """The shards that are there.

    Raises:
        PackError: one does not end as tars end.
    """
    source = Source(str(into))
    listed = {name: s for name, s in source.list_shards().items() if _SHARD.fullmatch(name)}
    whole = {shard for block in source.whole(listed, None) for shard in block}
    for shard in listed:
        if shard not in whole:
            raise _unreadable(into / f"{shard}.tar", "it does not end as tars end")
    return [into / f"{shard}.tar" for shard in listed]


def _record(store: Store, root: Path, n_samples: int, *, n_before: int) -> Record:
    """What is known of the shards that are there.

    Raises:
        PackError: this folder, packed in this way, would not have given them.
    """
    try:
        then = Record.model_validate(json.loads(store.read(RECORD)))
    except FileNotFoundError:
        then = None
    except ValueError:
        raise PackError(
            f"{store.path(RECORD)} is damaged, so it can't be told from where the shards beside it "
            "are; name another folder with --into"
        ) from None
    if not n_before:
        return Record(folder=str(root), samples=n_samples)
    if then and not Path(then.folder).exists():  # it was moved
        then = then.model_copy(update={"folder": str(root)})
    if then is None or (then.folder, then.samples) != (str(root), n_samples):
        how = f"{then.samples} samples a shard from {then.folder}" if then else "unknown how"
        raise PackError(
            f"{store.location} holds {n_before} shards already, packed otherwise ({how}) than "
            f"asked for ({n_samples} samples a shard from {root}); name another folder with "
            "--into, or ask for the same"
        )
    return then


def _require_unchanged(root: Path, found: Found, record: Record) -> None:
    """Refuse Parquet files whose rows are packed and that are others now."""
    changed = list[str]()
    for path in found.parquet:
        name, stat = path.relative_to(root).as_posix(), path.stat()
        packed = record.parquet.get(name)
        if packed is None or (packed.n_bytes, packed.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            continue
        if packed.sha256 != Hashes().of(path):
            changed.append(name)
    if changed:
        raise PackError(
            f"{len(changed)} Parquet files were changed after they were packed ({named(changed)}); "
            "a shard is never rewritten: name another folder with --into, or put new rows into a "
            "new file"
        )


def _held(shards: Iterable[Path]) -> dict[str, _Held]:
    """Key -> the sample of the shards that are there."""
    held = dict[str, _Held]()
    for path in shards:
        for key, ext, _, info in _members(path):
            held.setdefault(key, _Held(path)).sizes.append((ext, info.size))
    return held


def _members(path: Path) -> Iterator[tuple[str, str, tarfile.TarFile, tarfile.TarInfo]]:
    """Key and extension of each member of a shard, and what is needed to read it."""
    with _opened(path) as tar:
        for info in tar:
            folder, slash, name = info.name.rpartition("/")
            stem, _, ext = name.partition(".")
            yield f"{folder}{slash}{stem}", ext, tar, info
            tar.members.clear()  # type: ignore[attr-defined]  # or it remembers all


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: Path, why: str) -> PackError:
    return PackError(f"{path} can't be read as a tar ({why}); delete it, and it is packed again")


def _require_own_keys(root: Path, found: Found) -> None:
    """Refuse rows that would have the keys of other rows or of images."""
    files = defaultdict[str, list[str]](list)
    for path in found.parquet:
        files[row_stem(root, path)].append(str(path))
    clashes = [path for same in files.values() if len(same) > 1 for path in same]
    for one in found.images:
        stem, _, row = one.key.rpartition("/")
        clashes += [f"{one.key} beside {path}" for path in files.get(stem, ()) if row.isdecimal()]
    if clashes:
        raise PackError(f"samples would have one key: {named(clashes)}; rename all but one of each")


def _rows(
    root: Path, found: Found, held: Mapping[str, _Held], record: Record
) -> Iterator[Packable]:
    for path in found.parquet:
        name, stat = path.relative_to(root).as_posix(), path.stat()
        for row in packable_rows(root, path, held):
            if name not in record.parquet:
                record.parquet[name] = PackedFile(
                    n_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=Hashes().of(path)
                )
            yield row


def _left(
    root: Path, found: Found, held: Mapping[str, _Held], record: Record
) -> Iterator[Packable]:
    """The samples that are in no shard yet, in order; the record knows which files they are of.

    Raises:
        PackError: samples that are in one are another now.
    """
    written_ns = {path: path.stat().st_mtime_ns for path in {one.shard for one in held.values()}}
    changed, newer = list[str](), defaultdict[Path, list[Packable]](list)
    for one in chain(found.images, _rows(root, found, held, record)):
        before = held.get(one.key)
        if before is None:
            yield one
        elif one.sizes is not None and list(one.sizes) != before.sizes:
            changed.append(f"{one.key} in {before.shard.name}")
        elif one.changed_ns > written_ns[before.shard]:
            newer[before.shard].append(one)
    changed += [key for shard, samples in newer.items() for key in _changed(shard, samples)]
    if changed:
        raise PackError(
            f"{len(changed)} samples were changed after they were packed ({named(changed)}); a "
            "shard is never rewritten: delete those that hold them to have them packed anew"
        )


def _changed(shard: Path, samples: list[Packable]) -> Iterator[str]:
    """The keys of those samples that a shard holds other bytes of."""
    keys, held = {one.key for one in samples}, defaultdict[str, list[tuple[str, bytes]]](list)
    for key, ext, tar, info in _members(shard):
        if key in keys:
            data = tar.extractfile(info)
            held[key].append((ext, data.read() if data else b""))
    for one in samples:
        if one.read() != held[one.key]:
            yield f"{one.key} in {shard.name}"


def _shares(samples: Iterable[Packable], n_samples: int) -> Iterator[list[_Sample]]:
    """The samples of one shard after the other, each read once it is its turn."""
    share, n_bytes = list[_Sample](), 0
    for one in samples:
        share.append([(f"{one.key}.{ext}", data) for ext, data in one.read()])
        n_bytes += sum(len(data) for _, data in share[-1])
        if len(share) == n_samples or n_bytes >= MAX_SHARD_BYTES:
            yield share
            share, n_bytes = [], 0
    if share:
        yield share
