"""Which bytes a tar held when it was last read: a touched tar is not a new one."""

from __future__ import annotations

from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.source import Signature, Source
from curator_assets.storage.tars import TarContent

ASSET = "tar_shards"


def known_version(ledger: Ledger, shard: str, signature: Signature) -> str | None:
    """The content fingerprint of a tar with this signature, or None if it must be read."""
    entry = ledger.read(ASSET, shard)
    return entry.data_version if entry and entry.fingerprint == str(signature) else None


def record_version(ledger: Ledger, shard: str, signature: Signature, version: str) -> None:
    """Remember that a tar with this signature has this content fingerprint."""
    ledger.write(ASSET, shard, Entry(fingerprint=str(signature), data_version=version))


def read_version(ledger: Ledger, tars: Source, shard: str) -> str:
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
            for _ in content.samples(file):
                pass
        version = content.fingerprint
        record_version(ledger, shard, signature, version)
    return version
