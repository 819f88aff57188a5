"""How much memory decoding takes: very long, very tall and very large images of every format.

    python benchmarks/decode_memory.py

Each image is decoded in a process of its own, which has decoded a small one of its kind before.
Growth is the peak of resident memory over what was resident then, the file's own bytes included
there. The bound is what `DecodingMemory` counts for the image; the last rows are of several threads
with as much as one image of the size may take. The exit status says whether all kept within.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from image_files import KINDS, picture
from PIL import Image

from curator_assets.engine.workers.worker import MEMORY

MIB = 1 << 20
SIDE = 13_377
"""Of the largest square that the default `decode.max_pixels` allows."""

LONGEST = {"JPEG": 65_500, "WebP": 16_383, "GIF": 65_535, "AVIF": 30_000}
"""Pixels of the longest row or column by format; of the others a million, and of TIFF ten."""

SLACK_BYTES = 2 << 30
"""Address space of a child beyond the bound, which threads reserve and never touch."""


@dataclass(frozen=True)
class Case:
    """Images to decode: as many copies of one as there are threads, twice over, or one by one."""

    kind: str
    width: int
    height: int
    n_threads: int = 1


@dataclass(frozen=True)
class Growth:
    """What became of them.

    Attributes:
        file_bytes: of one.
        grown_bytes: the peak over what was resident before.
        bound_bytes: what it should be at most.
        result: `decoded`, or why not.
    """

    file_bytes: int
    grown_bytes: int
    bound_bytes: int
    result: str


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="kinds that begin so", default="")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(asdict(grown(Path(arguments.child[0]), int(arguments.child[1])))))
        return 0
    Image.MAX_IMAGE_PIXELS = None
    print("| format | width x height | file, MiB | grown, MiB | bytes a pixel | bound, MiB | |")
    print("|---|---|---|---|---|---|---|")
    cases = list[Case]()
    for kind in KINDS:
        long = LONGEST.get(kind.split(",")[0], 10_000_000 if kind == "TIFF" else 1_000_000)
        cases += [Case(kind, 1, long), Case(kind, long, 1), Case(kind, SIDE, SIDE)]
    cases += [Case(kind, 10_000, 8_000, 4) for kind in ("JPEG, progressive, 4:4:4", "PNG")]
    too_far = [case for case in cases if case.kind.startswith(arguments.only) and not kept(case)]
    print(f"\nbeyond the bound: {too_far or 'none'}")
    return 1 if too_far else 0


def kept(case: Case) -> bool:
    """Print a row of the table; whether the growth was within the bound."""
    with tempfile.TemporaryDirectory(prefix="decode-memory-") as folder:
        for name, size in (("large", (case.width, case.height)), ("small", (64, 64))):
            (Path(folder) / name).write_bytes(KINDS[case.kind](picture(*size)))
        command = [sys.executable, __file__, "--child", folder, str(case.n_threads)]
        environment = os.environ | MEMORY  # as in a worker
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    name = f"| {case.kind} | {case.width:,} x {case.height:,} |"
    if done.returncode:
        print(f"{name} died: exit {done.returncode}: {done.stderr[-500:]}", flush=True)
        return False
    growth = Growth(**json.loads(done.stdout.splitlines()[-1]))
    per_pixel = growth.grown_bytes / (case.width * case.height)
    result = growth.result + (f", {case.n_threads} threads" if case.n_threads > 1 else "")
    print(
        f"{name} {growth.file_bytes / MIB:.1f} | {growth.grown_bytes / MIB:.0f} | {per_pixel:.1f} "
        f"| {growth.bound_bytes / MIB:.0f} | {result} |",
        flush=True,
    )
    return growth.grown_bytes <= growth.bound_bytes


def grown(folder: Path, n_threads: int) -> Growth:
    """Of this process, over the decoding of `large` in a folder."""
    from curator_assets.kernels import decode
    from curator_assets.kernels.decode_memory import decoding_bytes, most_bytes
    from curator_assets.kernels.image_format import sniff_format
    from curator_assets.kernels.resize import Preprocessing, TorchResize

    clip = Preprocessing(224, (0, 0, 0), (1, 1, 1), "bicubic", "shortest", 0)
    large, small = ((folder / name).read_bytes() for name in ("large", "small"))
    stream = decode._open_stream(large, sniff_format(large), max_pixels=1 << 40)
    width, height = stream.width, stream.height
    bound = decoding_bytes(stream) + TorchResize(clip).n_bytes(height, width)
    if n_threads > 1:
        bound = most_bytes(width * height)
    decoder = decode.ImageDecoder(
        clip,
        device="cpu",
        batch_size=2 * n_threads,
        max_pixels=width * height,
        max_decoding_bytes=most_bytes(width * height),
        n_threads=n_threads,
    )
    decoder([small] * n_threads)
    before = resident_bytes("VmRSS")
    limit = resident_bytes("VmSize") + bound + SLACK_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    batch = decoder([large] * (2 * n_threads if n_threads > 1 else 1))
    return Growth(
        file_bytes=len(large),
        grown_bytes=resident_bytes("VmHWM") - before,
        bound_bytes=bound,
        result=str(batch.errors[0] or "decoded"),
    )


def resident_bytes(name: str) -> int:
    """A figure of this process, by the kernel's name for it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    sys.exit(main())
