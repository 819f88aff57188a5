"""What a member of a tar costs beside its bytes.

    python benchmarks/tars.py              # 3,000 images of 64 kB with captions, in two formats
    python benchmarks/tars.py --bytes      # how often a full run reads each tar, by stage

Best of some rounds in turns, CPU time of one thread; what a tar's bytes cost to read is told apart.
"""

from __future__ import annotations

import argparse
import random
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from unittest.mock import patch

import tar_reads
from written_tars import write_tar

from curator_assets.storage.shards import tars
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_headers import read_headers

N_IMAGES, IMAGE_BYTES, CAPTION_BYTES = 3000, 64 << 10, 60
FORMATS = {
    "GNU, as tar and Python's older writers": (tarfile.GNU_FORMAT, 1_700_000_000),
    "pax, as webdataset's TarWriter": (tarfile.PAX_FORMAT, 1_700_000_000.5),
}


def main() -> None:
    """Print a line a format and way of reading."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bytes", action="store_true", help="count what a full run reads")
    parser.add_argument("--samples", type=int, default=120, help="of the run that --bytes counts")
    arguments = parser.parse_args()
    if arguments.bytes:
        tar_reads.report(arguments.samples)
        return
    with tempfile.TemporaryDirectory(prefix="tars-") as folder:
        for title, (kind, mtime) in FORMATS.items():
            path = Path(folder, "shard.tar")
            write_tar(path, members_of_noise(), kind=kind, mtime=mtime)
            print(f"{title}:")
            costs(path, arguments.rounds)


def members_of_noise() -> Iterator[tuple[str, bytes]]:
    """Images of noise and their captions."""
    rng = random.Random(0)
    for i in range(N_IMAGES):
        spread = rng.randrange(-IMAGE_BYTES // 8, IMAGE_BYTES // 8)
        yield f"{i:08d}.jpg", rng.randbytes(IMAGE_BYTES + spread)
        yield f"{i:08d}.txt", rng.randbytes(CAPTION_BYTES)


def costs(path: Path, rounds: int) -> None:
    """Print what each way of reading a tar costs a member."""
    source, shard = Source(str(path.parent)), path.stem

    def read(consume: Callable[[IO[bytes]], object]) -> None:
        with source.open(shard) as file:
            consume(file)

    def members(file: IO[bytes]) -> int:
        return sum(1 for _ in read_headers(file, shard))

    def samples(file: IO[bytes]) -> int:
        return sum(1 for _ in tars.TarContent(shard).samples(file))

    def unhashed(file: IO[bytes]) -> int:
        with patch(f"{tars.__name__}.hashlib.sha256", NoHash):
            return samples(file)

    ways: dict[str, Callable[[IO[bytes]], object]] = {
        "bytes read in pieces of 64 kB": pieces,
        "bare header loop": bare_headers,
        "headers, every check": members,
        "samples, not hashed": unhashed,
        "samples": samples,
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            read(way)
            best[name] = min(best[name], time.process_time() - started)
    pieces_s, bare_s = best["bytes read in pieces of 64 kB"], best["bare header loop"]
    for name, seconds in best.items():
        us = 1e6 / (2 * N_IMAGES)
        print(f"  {name:32}{seconds * us:7.1f} us a member{seconds / bare_s:7.1f} x the bare loop")
    beside = (best["samples, not hashed"] - pieces_s) * 1e6 / (2 * N_IMAGES)
    print(f"  {'beside hashing and reading':32}{beside:7.1f} us a member")


def pieces(file: IO[bytes]) -> None:
    """Read all bytes and nothing else."""
    while file.read(64 << 10):
        pass


def bare_headers(file: IO[bytes]) -> int:
    """Step from header to header, and check nothing."""
    n_members = 0
    while (block := file.read(512))[:1].strip(b"\0"):
        block[:100].rstrip(b"\0").decode()
        file.seek(-(-int(block[124:135], 8) // 512) * 512, 1)
        n_members += 1
    return n_members


class NoHash:
    """A digest that looks at nothing."""

    def __init__(self, data: bytes = b"") -> None:
        pass

    def update(self, data: bytes) -> None:
        """Look at nothing."""

    def hexdigest(self) -> str:
        """Zeros."""
        return "0" * 64


if __name__ == "__main__":
    main()
