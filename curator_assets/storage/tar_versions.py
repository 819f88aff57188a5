"""Which bytes a tar held when it was last read, and where in it each image lies.

A touched tar is not a new one: its version is that of its content.
"""

from __future__ import annotations

import pyarrow as pa

from curator_assets.storage import layout, schemas
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.source import Signature, Source
from curator_assets.storage.store import Store
from curator_assets.storage.tables import write_table
from curator_assets.storage.tars import TarContent

ASSET = "tar_shards"


def known_version(ledger: Ledger, shard: str, signature: Signature) -> str | None:
    """The content fingerprint of a tar with this signature, or None if it must be read."""
    entry = ledger.read(ASSET, shard)
    if entry is None or entry.fingerprint != str(signature) or ledger.missing_files(entry):
        return None
    return entry.data_version


def record_version(
    store: Store, ledger: Ledger, shard: str, signature: Signature, content: TarContent
) -> None:
    """Remember what a tar with this signature holds, and where its images lie."""
    places = [place._asdict() for place in content.images]
    index = pa.Table.from_pylist(places, schema=schemas.TAR_INDEX)
    name = layout.tar_index(shard)
    write_table(store, name, index, schemas.TAR_INDEX)
    files = {name: store.size(name) or 0}
    entry = Entry(fingerprint=str(signature), data_version=content.fingerprint, files=files)
    ledger.write(ASSET, shard, entry)


def read_version(store: Store, ledger: Ledger, tars: Source, shard: str) -> str:
    """The content fingerprint of a tar, read again only if its signature is new.

    Raises:
        FileNotFoundError: the tar is gone.
        BrokenTarError: the tar is not whole.
    """
    signature = tars.signature(shard)
    version = known_version(ledger, shard, signature)
    if version is None:
        content = TarContent(shard)
        with tars.open(shard) as file:
            for _ in content.samples(file, images_only=True):
                pass
        version = content.fingerprint
        record_version(store, ledger, shard, signature, content)
    return version
