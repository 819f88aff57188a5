"""Damaged tars through the real refresh: is every sample that is in a tar in a row or in a message?

What is in a tar is told by an oracle that shares no code with the project: it steps through all
blocks of 512 bytes and takes each that holds a valid checksum for a header.
"""

from __future__ import annotations

import io
import random
import re
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from fuzz_refresh import refresh_in
from PIL import Image

N_OF_A_REFRESH = 250
BLOCK = 512


@dataclass
class Outcome:
    """What became of some tars."""

    lost: list[str]
    by_fate: Counter[str]
    died: str | None


def run(n_tars: int, seed: int) -> int:
    """Damage so many tars and refresh; 1 if a sample was lost or a refresh died, else 0."""
    rng, by_fate, lost, died = random.Random(seed), Counter[str](), list[str](), 0
    for start in range(0, n_tars, N_OF_A_REFRESH):
        n, started = min(N_OF_A_REFRESH, n_tars - start), time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            found = refreshed(Path(folder), n, rng)
        by_fate += found.by_fate
        lost += found.lost
        died += found.died is not None
        print(
            f"{start + n} tars, {time.perf_counter() - started:.0f} s: {dict(found.by_fate)}; "
            f"{len(found.lost)} samples lost{f'; {found.died}' if found.died else ''}",
            flush=True,
        )
    print(f"\n{n_tars} tars: {dict(by_fate)}")
    print(
        f"samples in a tar and in no row and no message: {len(lost)}; refreshes that died: {died}"
    )
    for line in lost[:20]:
        print(f"  {line}")
    return 1 if lost or died else 0


def refreshed(folder: Path, n: int, rng: random.Random) -> Outcome:
    """Damage `n` tars, refresh, and look for every sample."""
    tars = {f"{MUTATIONS[i % len(MUTATIONS)].__name__}-{i:04d}": i for i in range(n)}
    (folder / "tars").mkdir()
    for shard, i in tars.items():
        data = MUTATIONS[i % len(MUTATIONS)](whole_tar(shard, rng), rng)
        (folder / "tars" / f"{shard}.tar").write_bytes(data)
    write_members(folder / "tars" / "good.tar", [("good.png", picture(rng))])
    done = refresh_in(folder)
    if done is None:
        return Outcome([], Counter(), "a refresh hung")
    status, said = done
    died = None if status in (0, 1) else f"exit {status}: {said[-3000:]}"
    ends = ("out/embeddings/good.parquet", "out/report/index.html")
    if not all((folder / name).exists() for name in ends):
        died = f"the good tar was not curated: {said[-3000:]}"
    not_taken = untaken(folder)
    lost, by_fate = list[str](), Counter[str]()
    for shard in tars:
        keys = oracle((folder / "tars" / f"{shard}.tar").read_bytes())
        fate, told = fate_of(folder / "out", shard, said, not_taken)
        by_fate[fate] += 1
        missing = sorted(keys - told) if fate == "read" else []
        lost += [f"{shard}: {key}" for key in missing]
    return Outcome(lost, by_fate, died)


def untaken(folder: Path) -> set[str]:
    """The tars that a plan names as not taken."""
    from curator_assets.defs.stages import GRAPH
    from curator_assets.engine.intake import look
    from curator_assets.settings_file import load_settings

    class Nobody:
        def shards(self) -> list[str]:
            return []

    found = look(GRAPH, load_settings(folder / "curator.yaml"), Nobody())  # type: ignore[arg-type]
    return {path.removesuffix(".tar") for path in found.not_taken}


def fate_of(output: Path, shard: str, said: str, not_taken: set[str]) -> tuple[str, set[str]]:
    """What became of a tar; of one that was read, the keys in rows and the names in messages."""
    table = output / "embeddings" / f"{shard}.parquet"
    if shard in not_taken:
        return "not taken, by name", set()
    if f"shard '{shard}'" in said:
        return "refused, by name", set()
    if not table.exists():
        return "read", set()
    keys = set(pl.read_parquet(table, columns=["key"])["key"])
    reported = (output / "metadata/image_embeddings" / f"{shard}.json").read_text()
    named = set(re.findall(r"[0-9a-zA-Z_-]+(?=\.(?:png|txt))", reported))
    return "read", keys | named


# --- the oracle


def oracle(data: bytes) -> set[str]:
    """Keys of all members with an extension whose headers lie anywhere in a tar."""
    keys = set[str]()
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        block = data[at : at + BLOCK]
        digits = block[148:156].strip(b" \0")
        if not digits or any(c not in b"01234567" for c in digits):
            continue
        if int(digits, 8) != sum(block[:148]) + 8 * 32 + sum(block[156:]):
            continue
        name = block[:100].split(b"\0")[0].decode("utf-8", "surrogateescape")
        stem, dot, _ = name.rpartition("/")[2].partition(".")
        if block[156:157] in b"\x0001" and stem and dot:
            keys.add(stem.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return keys


# --- whole tars and what happens to them


def picture(rng: random.Random) -> bytes:
    """A small PNG of noise."""
    noise = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (24, 24, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((48, 48)).save(file, "PNG")
    return file.getvalue()


def write_members(path: Path, members: list[tuple[str, bytes]]) -> None:
    """A tar file."""
    path.write_bytes(packed(members, tarfile.GNU_FORMAT))


def packed(members: list[tuple[str, bytes]], kind: int) -> bytes:
    """The bytes of a tar; a member without data is a hard link to the first."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if not data:
                info.type, info.linkname = tarfile.LNKTYPE, members[0][0]
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def whole_tar(shard: str, rng: random.Random) -> bytes:
    """A tar of a few samples."""
    members = list[tuple[str, bytes]]()
    for k in range(rng.randrange(1, 6)):
        key = f"{shard}_{k}"
        members.append((f"{key}.png", picture(rng)))
        if rng.random() < 0.5:
            members.append((f"{key}.txt", bytes(rng.randrange(32, 127) for _ in range(700))))
        if rng.random() < 0.2:
            members.append((f"{key}l.png", b""))
    kind = rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
    return packed(members, kind)


def untouched(data: bytes, rng: random.Random) -> bytes:
    """As it was."""
    return data


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, anywhere."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 20)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def flipped_header(data: bytes, rng: random.Random) -> bytes:
    """Some bytes of one header changed, and its checksum set right."""
    changed, at = bytearray(data), rng.choice(headers_in(data))
    for _ in range(rng.randrange(1, 4)):
        changed[at + rng.choice([*range(100, 157), *range(257, 265)])] = rng.randrange(256)
    return checksummed(changed, at)


def resized(data: bytes, rng: random.Random) -> bytes:
    """Another size in one header, any number, and its checksum set right."""
    changed, at = bytearray(data), rng.choice(headers_in(data))
    near = rng.randrange(0, len(data))
    size = rng.choice([near, 1 << rng.randrange(1, 33), near // BLOCK * BLOCK])
    field = b"%011o\0" % size
    if rng.random() < 0.3:
        number = rng.choice([-1, -512, -near, 1 << 62, size])
        field = (b"\xff" if number < 0 else b"\x80") + (number % (1 << 88)).to_bytes(11, "big")
    changed[at + 124 : at + 136] = field
    return checksummed(changed, at)


def retyped(data: bytes, rng: random.Random) -> bytes:
    """Another type in one header, and its checksum set right."""
    changed, at = bytearray(data), rng.choice(headers_in(data))
    changed[at + 156] = rng.choice(b"0123456789LKxgXSVMZ\0")
    return checksummed(changed, at)


def zeroed(data: bytes, rng: random.Random) -> bytes:
    """A few blocks lost: zeros in their place."""
    at, n = rng.randrange(len(data) // BLOCK), rng.randrange(1, 9)
    return (
        data[: at * BLOCK]
        + bytes(min(n * BLOCK, len(data) - at * BLOCK))
        + data[(at + n) * BLOCK :]
    )


def removed(data: bytes, rng: random.Random) -> bytes:
    """Blocks taken out."""
    at, n = rng.randrange(len(data) // BLOCK), rng.randrange(1, 9)
    return data[: at * BLOCK] + data[(at + n) * BLOCK :]


def moved(data: bytes, rng: random.Random) -> bytes:
    """Two blocks swapped."""
    blocks = [data[i : i + BLOCK] for i in range(0, len(data), BLOCK)]
    a, b = rng.randrange(len(blocks)), rng.randrange(len(blocks))
    blocks[a], blocks[b] = blocks[b], blocks[a]
    return b"".join(blocks)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end missing."""
    return data[: rng.randrange(len(data))]


def cut_and_ended(data: bytes, rng: random.Random) -> bytes:
    """The end missing, and end blocks put back."""
    return data[: rng.randrange(len(data)) // BLOCK * BLOCK] + bytes(2 * BLOCK)


def doubled(data: bytes, rng: random.Random) -> bytes:
    """Another tar behind it."""
    return data + whole_tar(f"second{rng.randrange(10**6)}", rng)


def inserted(data: bytes, rng: random.Random) -> bytes:
    """Bytes put in, somewhere."""
    at = rng.randrange(len(data) // BLOCK) * BLOCK
    return data[:at] + rng.randbytes(rng.choice([1, BLOCK, 3 * BLOCK])) + data[at:]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    untouched,
    flipped,
    flipped_header,
    resized,
    retyped,
    zeroed,
    removed,
    moved,
    cut,
    cut_and_ended,
    doubled,
    inserted,
]


def headers_in(data: bytes) -> list[int]:
    """Where tarfile finds headers."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [info.offset for info in tar]


def checksummed(data: bytearray, at: int) -> bytes:
    """The data with the checksum of the header at `at` set right."""
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + BLOCK])
    return bytes(data)
