"""Damaged images among good photographs: does any kill a refresh, lose its row, change another's?

Every refresh has the same photographs, whose embeddings must be, bit for bit, those of a refresh
that has them alone.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from damaged_images import MUTATIONS, with_checksums
from fuzz_refresh import refresh_in
from image_files import KINDS, by_pillow, picture
from written_tars import write_tar

N_OF_A_REFRESH = 500
N_GOOD = 96
N_OF_A_TAR = 100

CONTAINED = ("decoder crashed", "decoder hung", "out of memory")
"""`error` of images that killed the process that decoded them."""

DAMAGED_KINDS = {
    "jpeg": KINDS["JPEG"],
    "jpeg_progressive": KINDS["JPEG, progressive, 4:4:4"],
    "jpeg_exif": by_pillow("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"),
    "png": KINDS["PNG"],
    "png_palette": KINDS["PNG, palette"],
    "png_rgba": by_pillow("PNG", "RGBA"),
    "webp": KINDS["WebP"],
    "webp_lossless": KINDS["WebP, lossless"],
    "bmp": KINDS["BMP"],
    "tiff": KINDS["TIFF"],
    "tiff_lzw": KINDS["TIFF, LZW"],
    "tiff_tiles": KINDS["TIFF, tiles, 16 bits"],
    "jpeg2000": KINDS["JPEG 2000, lossless"],
    "gif": KINDS["GIF"],
    "avif": KINDS["AVIF"],
}


@dataclass
class Found:
    """What became of some damaged images.

    Attributes:
        died: what each refresh said that did not end as it should.
        changed: photographs whose embedding is another or is gone.
        without_row: damaged images that no row tells of.
        by_error: damaged images by `error`, of those with a picture `decoded`.
        contained: those that killed a process of the decoder's.
    """

    died: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    without_row: list[str] = field(default_factory=list)
    by_error: Counter[str] = field(default_factory=Counter)
    contained: list[str] = field(default_factory=list)


def run(n_images: int, seed: int) -> int:
    """Damage so many images and refresh; 1 if anything died or changed or has no row, else 0."""
    rng, found = random.Random(seed), Found()
    good = {f"good-{i:03d}": KINDS["JPEG"](picture(200, 160, i)) for i in range(N_GOOD)}
    alone = embeddings_of(good, rng, found)
    for start in range(0, n_images, N_OF_A_REFRESH):
        n, started = min(N_OF_A_REFRESH, n_images - start), time.perf_counter()
        bad = dict(damaged(rng, i) for i in range(start, start + n))
        rows = embeddings_of(good | bad, rng, found)
        if rows:
            weigh(rows, alone, bad, found)
        print(f"{start + n} images, {time.perf_counter() - started:.0f} s", flush=True)
    print(f"\n{n_images} damaged images: {dict(found.by_error.most_common())}")
    print(
        f"refreshes that died: {len(found.died)}; photographs changed: {len(found.changed)}; "
        f"images without a row: {len(found.without_row)}; contained: {len(found.contained)}"
    )
    for line in [*found.died, *found.changed, *found.without_row, *found.contained][:20]:
        print(f"  {line}")
    return 1 if found.died or found.changed or found.without_row else 0


def damaged(rng: random.Random, i: int) -> tuple[str, bytes]:
    """A key that tells how it was made, and the file."""
    kind = list(DAMAGED_KINDS)[i % len(DAMAGED_KINDS)]
    mutation = rng.choice(MUTATIONS)
    width, height = rng.randrange(1, 150), rng.randrange(1, 150)
    data = mutation(DAMAGED_KINDS[kind](picture(width, height, i)), rng)
    if rng.random() < 0.7:  # or nothing behind them is read
        data = with_checksums(data)
    return f"{kind}-{mutation.__name__}-{i:06d}", data


Row = tuple[str | None, bytes | None]


def embeddings_of(images: dict[str, bytes], rng: random.Random, found: Found) -> dict[str, Row]:
    """Key -> `error` and the bytes of the embedding, by a refresh; nothing where it died."""
    keys = sorted(images, key=lambda _: rng.random())
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "tars").mkdir()
        for start in range(0, len(keys), N_OF_A_TAR):
            members = ((f"{key}.jpg", images[key]) for key in keys[start : start + N_OF_A_TAR])
            write_tar(folder / f"tars/{start:06d}.tar", members)
        done = refresh_in(folder)
        if done is None:
            found.died.append("a refresh hung")
            return {}
        if done[0]:
            found.died.append(f"exit {done[0]}: {done[1][-800:]}")
            return {}
        rows = pl.read_parquet(folder / "out/embeddings/*.parquet")
    columns = rows.select("key", "error", pl.col("embedding").cast(pl.List(pl.Float32)))
    return {
        key: (error, None if values is None else np.array(values, np.float32).tobytes())
        for key, error, values in columns.iter_rows()
    }


def weigh(rows: dict[str, Row], alone: dict[str, Row], bad: dict[str, bytes], found: Found) -> None:
    """Add what a refresh made to what was found."""
    found.changed += [key for key, row in alone.items() if rows.get(key) != row]
    for key in bad:
        error, embedding = rows.get(key, (None, None))
        if error is None and embedding is None:
            found.without_row.append(key)
        else:
            found.by_error[error or "decoded"] += 1
        if error in CONTAINED:
            found.contained.append(f"{key}: {error}")
