"""Curated tars: copied sample by sample from the source, and read back before they count."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator
from typing import IO

from curator_assets.storage import layout
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import Member, MemberReader, TarContent, write_tar
from curator_assets.storage.store import Store


class CuratedTarError(RuntimeError):
    """A curated tar does not hold what the source holds; it was not put in place."""


def write_curated_tar(
    tars: Source,
    store: Store,
    shard: str,
    kept_keys: Container[str],
    tar_version: str,
    n_bytes: int | None = None,
) -> None:
    """Write the kept samples of a shard, then read them back and compare every byte's hash.

    Args:
        tars: the source.
        store: where the curated tar goes.
        shard: which one.
        kept_keys: keys of the samples to copy.
        tar_version: content fingerprint of the source tar that the keys were chosen for.
        n_bytes: of that tar, if it is known.

    Raises:
        CuratedTarError: the source is not that tar any more, or the copy differs from it.
    """
    written = hashlib.sha256()
    content = TarContent(shard)

    def kept(source: IO[bytes]) -> Iterator[tuple[str, int, MemberReader]]:
        for member in content.members(source):
            if member.key in kept_keys:
                yield member.name, member.n_bytes, member.reader
                _add(written, member)

    with store.write(layout.curated_tar(shard)) as file:
        with tars.open(shard, n_bytes) as source:
            write_tar(file, kept(source))
        if content.fingerprint != tar_version:
            raise CuratedTarError(
                f"shard {shard!r} was replaced since it was embedded; materialise "
                "image_embeddings of it and what follows"
            )
        file.seek(0)
        read_back = hashlib.sha256()
        for member in TarContent(shard).members(file):
            _add(read_back, member)
        if read_back.digest() != written.digest():
            raise CuratedTarError(
                f"shard {shard!r}: the curated tar reads back other bytes than were written; "
                "check the disk"
            )


def _add(digest: hashlib._Hash, member: Member) -> None:
    found = f"{member.name}\0{member.reader.finish()}\n"
    digest.update(found.encode(errors="surrogateescape"))
