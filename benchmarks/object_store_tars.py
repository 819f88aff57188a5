"""Throughput of tars in a bucket against a plain get and put; `object_store.py` starts it."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from written_tars import write_tar

from curator_assets.storage.shards.curated import write_curated_tar
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import TarContent
from curator_assets.storage.store import Store

MEMBER_BYTES = 1 << 20
TARGET_RATIO = 0.8
PLAIN_COPY, CURATED = "get and put", "curated copy"
PLAIN_READ, SAMPLES = "get", "samples read"
AGAINST = {PLAIN_READ: PLAIN_READ, SAMPLES: PLAIN_READ, PLAIN_COPY: PLAIN_COPY, CURATED: PLAIN_COPY}


class Everything(frozenset[str]):
    """Holds whatever is asked for."""

    def __contains__(self, key: object) -> bool:
        return True


def main(place: str, n_tars: int, n_mib: int, rounds: int) -> None:
    """Print a row a way: MiB a second of each round, and the ratio to the plain way's.

    Args:
        place: URI of a folder in a bucket.
        n_tars: read and copied one after another in each round.
        n_mib: of each, MiB.
        rounds: in which all ways take turns.
    """
    source, store = Source(f"{place}/source"), Store(f"{place}/curated")
    shards = [f"{i:05d}" for i in range(n_tars)]
    versions = {shard: uploaded(source, shard, n_mib) for shard in shards}
    here = Path("got.tar")

    def plain_get(shard: str) -> None:
        source.fs.get_file(f"{source.root}/{shard}.tar", str(here))

    def plain_copy(shard: str) -> None:
        plain_get(shard)
        source.fs.put_file(str(here), f"{store.root}/plain/{shard}.tar")

    def curated(shard: str) -> None:
        write_curated_tar(source, store, shard, Everything(), versions[shard])

    def samples(shard: str) -> None:
        read_samples(source, shard)

    ways: dict[str, Callable[[str], None]] = {
        PLAIN_READ: plain_get,
        SAMPLES: samples,
        PLAIN_COPY: plain_copy,
        CURATED: curated,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(rounds):
        for name in list(ways) if k % 2 == 0 else reversed(ways):
            started = time.perf_counter()
            for shard in shards:
                ways[name](shard)
            rates[name].append(n_tars * n_mib / (time.perf_counter() - started))
    print(f"\n{n_tars} tars of {n_mib} MiB, {rounds} rounds in turns\n")
    print(f"| | MiB/s of each round | to the plain one, median; target {TARGET_RATIO} |")
    print("|---|---|---|")
    for name, found in rates.items():
        each = " ".join(f"{rate:.0f}" for rate in found)
        ratios = [rate / plain for rate, plain in zip(found, rates[AGAINST[name]], strict=True)]
        print(f"| {name} | {each} | {statistics.median(ratios):.2f} |")


def uploaded(source: Source, shard: str, n_mib: int) -> str:
    """Put a tar of noise in the source; its version."""
    noise, path = random.Random(shard), Path("made.tar")
    members = ((f"{i:06d}.jpg", noise.randbytes(MEMBER_BYTES)) for i in range(n_mib))
    write_tar(path, members)
    source.fs.put_file(str(path), f"{source.root}/{shard}.tar")
    path.unlink()
    return read_samples(source, shard)


def read_samples(source: Source, shard: str) -> str:
    """Read a tar sample by sample; its version."""
    content = TarContent(shard)
    with source.open(shard) as file:
        for _ in content.samples(file):
            pass
    return content.fingerprint


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
