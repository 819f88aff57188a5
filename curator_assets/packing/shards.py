"""New shards out of samples, each whole or not at all, in an order that a kill does not change."""

from __future__ import annotations

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from curator_assets.packing.image_files import Found
from curator_assets.packing.packable import Packable, PackError
from curator_assets.packing.parquet_rows import packable_rows
from curator_assets.storage.shards.tars import Member, Sample, write_tar
from curator_assets.storage.store import Store

MAX_SHARD_BYTES = 1_000_000_000
"""A shard with as many bytes of members is full."""

RECORD = ".pack.json"
"""Beside the shards: from which folder they are, and how many samples one holds."""

_SHARD = re.compile(r"\d{5,}\.tar")


@dataclass(frozen=True)
class Packed:
    """A shard that was written."""

    path: Path
    n_samples: int
    n_bytes: int


def pack(root: Path, found: Found, into: Path, *, n_samples: int) -> Iterator[Packed]:
    """Write what was found and is not packed yet into new shards; those that are there stay.

    Args:
        root: the folder that was searched.
        found: in it.
        into: a folder.
        n_samples: of a shard, at most.

    Raises:
        PackError: the shards there are of another folder or another size, or a file was changed
            since it was packed.
    """
    store, before = Store(str(into)), _shards(into)
    _require_same(store, root, n_samples, n_before=len(before))
    packed = {key: path for path in before for key, *_ in _members_of(path)}
    number = 1 + max((int(path.stem) for path in before), default=-1)
    for samples in _shares(_left(root, found, packed), n_samples):
        path = into / f"{number:05d}.tar"
        with store.write(path.name) as file:
            write_tar(file, samples)
        n_bytes = sum(len(member.data) for sample in samples for member in sample.members)
        yield Packed(path, len(samples), n_bytes)
        number += 1


def _shards(into: Path) -> list[Path]:
    names = sorted(into.glob("*.tar")) if into.is_dir() else []
    return [path for path in names if _SHARD.fullmatch(path.name)]


def _require_same(store: Store, root: Path, n_samples: int, *, n_before: int) -> None:
    """Refuse shards that this folder, packed in this way, would not have given."""
    now = {"folder": str(root), "samples": n_samples}
    try:
        then = json.loads(store.read(RECORD))
    except FileNotFoundError:
        then = None
    if then is None and not n_before:
        with store.write(RECORD) as file:
            file.write(json.dumps(now).encode())
    elif then != now:
        packed = f"{then['samples']} samples a shard from {then['folder']}" if then else "unknown"
        raise PackError(
            f"{store.location} holds {n_before} shards already, packed otherwise ({packed}) than "
            f"asked for ({n_samples} samples a shard from {root}); name another folder with "
            "--into, or ask for the same"
        )


def _members_of(path: Path) -> Iterator[tuple[str, str, tarfile.TarFile, tarfile.TarInfo]]:
    """Key and extension of each member of a shard, and what is needed to read it."""
    with tarfile.open(path) as tar:
        for info in tar:
            folder, slash, name = info.name.rpartition("/")
            stem, _, ext = name.partition(".")
            yield f"{folder}{slash}{stem}", ext, tar, info
            tar.members.clear()  # type: ignore[attr-defined]  # or it remembers all


def _left(root: Path, found: Found, packed: Mapping[str, Path]) -> Iterator[Packable]:
    """The samples that are in no shard yet, in order.

    Raises:
        PackError: samples that are in one are another now.
    """
    written_ns = {path: path.stat().st_mtime_ns for path in set(packed.values())}
    rows = (row for path in found.parquet for row in packable_rows(root, path, packed))
    newer = defaultdict[Path, list[Packable]](list)
    for one in chain(found.images, rows):
        shard = packed.get(one.key)
        if shard is None:
            yield one
        elif one.changed_ns > written_ns[shard]:
            newer[shard].append(one)
    changed = [key for shard, samples in newer.items() for key in _changed(shard, samples)]
    if changed:
        raise PackError(
            f"{len(changed)} samples were changed after they were packed ({', '.join(changed[:5])}"
            "); a shard is never rewritten: delete those that hold them to have them packed anew"
        )


def _changed(shard: Path, samples: list[Packable]) -> Iterator[str]:
    """The keys of those samples that a shard holds other bytes of."""
    keys, held = {one.key for one in samples}, defaultdict[str, list[tuple[str, bytes]]](list)
    for key, ext, tar, info in _members_of(shard):
        if key in keys:
            data = tar.extractfile(info)
            held[key].append((ext, data.read() if data else b""))
    yield from (one.key for one in samples if one.read() != held[one.key])


def _shares(samples: Iterable[Packable], n_samples: int) -> Iterator[list[Sample]]:
    """The samples of one shard after the other, each read once it is its turn."""
    share, n_bytes = list[Sample](), 0
    for one in samples:
        members = tuple(Member(f"{one.key}.{ext}", ext, data) for ext, data in one.read())
        share.append(Sample(one.key, len(share), members))
        n_bytes += sum(len(member.data) for member in members)
        if len(share) == n_samples or n_bytes >= MAX_SHARD_BYTES:
            yield share
            share, n_bytes = [], 0
    if share:
        yield share
