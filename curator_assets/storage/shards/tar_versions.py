"""Which bytes a tar held when it was last read, and where in it each image lies.

A touched tar is not a new one: its version is that of its content.
"""

from __future__ import annotations

import pyarrow as pa

from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.shards.source import Signature, Source
from curator_assets.storage.shards.tars import TarContent
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import write_table
from curator_assets.storage.versions import stored_files


def known_version(ledger: Ledger, asset: str, shard: str, signature: Signature) -> str | None:
    """The content fingerprint of a tar with this signature, or None if it must be read.

    Args:
        ledger: where versions are kept.
        asset: that the tar is a partition of.
        shard: the tar.
        signature: of the tar as it lies now.
    """
    entry = ledger.read(asset, shard)
    if entry is None or entry.fingerprint != str(signature) or ledger.missing_files(entry):
        return None
    return entry.data_version


def had_size(entry: Entry, n_bytes: int) -> bool:
    """Whether the tar of an entry had this size when it was read."""
    return size_when_read(entry) == n_bytes


def size_when_read(entry: Entry) -> int | None:
    """The bytes of the tar of an entry when it was read; None if nothing tells."""
    digits = entry.fingerprint.partition("size=")[2].partition(",")[0]
    return int(digits) if digits.isdecimal() else None


def read_version(
    ledger: Ledger, asset: str, tars: Source, shard: str
) -> tuple[str, TarContent | None]:
    """The content fingerprint of a tar, read only if its signature is new; nothing is recorded.

    Returns:
        The fingerprint, and what the tar holds; None if it was not read. To be recorded with a
        signature from before this call: so a tar that was replaced meanwhile is read again.

    Raises:
        FileNotFoundError: the tar is gone.
        BrokenTarError: the tar is not whole.
    """
    version = known_version(ledger, asset, shard, tars.signature(shard))
    if version is not None:
        return version, None
    content = TarContent(shard)
    with tars.open(shard) as file:
        for _ in content.samples(file):
            pass
    return content.fingerprint, content


def version_of_content(
    store: Store, shard: str, signature: Signature, content: TarContent
) -> Entry:
    """The entry of a tar with this signature; where its images lie is written down."""
    places = [place._asdict() for place in content.images]
    index = pa.Table.from_pylist(places, schema=schemas.TAR_INDEX)
    name = layout.tar_index(shard)
    write_table(store, name, index, schemas.TAR_INDEX)
    files = stored_files(store, [name])
    return Entry(fingerprint=str(signature), data_version=content.fingerprint, files=files)


def record_version(
    store: Store, ledger: Ledger, asset: str, shard: str, signature: Signature, content: TarContent
) -> None:
    """Remember what a tar with this signature holds, and where its images lie."""
    ledger.write(asset, shard, version_of_content(store, shard, signature, content))
