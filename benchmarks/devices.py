"""What a GPU does against the CPU beside it: where a batch's decoding goes, and the same results?

    python benchmarks/devices.py --photos /data/photos            # every section
    python benchmarks/devices.py --photos /data/photos decode     # one
    python benchmarks/devices.py --photos /data/photos --device cpu   # a rehearsal

Each section is on its own: what one of them meets hides no other.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from curator_assets.kernels.ahead import begun_ahead
from curator_assets.kernels.decode import DecodedBatch, ImageDecoder
from curator_assets.kernels.decode_on_gpu import GpuDecoder
from curator_assets.kernels.encode import EncoderModel
from curator_assets.kernels.resize import Preprocessing
from curator_assets.models.open_clip_models import load_model

CLIP = Preprocessing(
    224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), "bicubic", "shortest", fill_color=0
)
N_CORES = len(os.sched_getaffinity(0))


def main() -> int:
    """Run the sections; the exit status says whether all of them ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG files")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], default=[])
    arguments = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(arguments.photos.rglob("*.jpg"))]
    failed = 0
    for name in arguments.sections or SECTIONS:
        print(f"-- {name}", flush=True)
        started = time.perf_counter()
        try:
            SECTIONS[name](arguments.device, photos)
        except Exception:
            traceback.print_exc(limit=-8)
            failed += 1
        print(f"   {time.perf_counter() - started:.1f} s", flush=True)
    return min(failed, 1)


def versions(device: str, photos: list[bytes]) -> None:
    """Card, driver and libraries."""
    from nvidia import dali, nvimgcodec

    print(sys.version.split()[0], "torch", torch.__version__, "CUDA", torch.version.cuda)
    print("DALI", dali.__version__, "nvImageCodec", nvimgcodec.__version__, N_CORES, "cores")
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        print(torch.cuda.get_device_name(), f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free")


def decode(device: str, photos: list[bytes]) -> None:
    """Milliseconds of a batch's decoding by step, alone and beside a busy encoder."""
    n = 512 if device == "cuda" else 32
    decoder, batch = decoder_on(device, n), repeated(photos, n)

    def report(what: str) -> None:
        begun, whole = list[float](), list[float]()
        for _ in range(6):
            started = time.perf_counter()
            finish = decoder.begin(batch)
            begun.append(time.perf_counter() - started)
            finish()
            whole.append(time.perf_counter() - started)
        print(
            f"{what}: {1e3 * np.median(whole):.1f} ms a batch of {n}, of them "
            f"{1e3 * np.median(begun):.1f} until it is begun"
        )

    report("alone")
    for step, milliseconds in steps(decoder, batch, device).items():
        print(f"  {step}: {milliseconds:.1f} ms")
    with multiplying(device):
        report("beside an encoder")


def steps(decoder: ImageDecoder, batch: list[bytes], device: str) -> dict[str, float]:
    """Milliseconds of each step of the GPU's decoder by itself, waited for; none on CPU."""
    from curator_assets.kernels import decode as module
    from curator_assets.kernels.constant_rows import constant_rows_fractions
    from curator_assets.kernels.statistics import measure

    found, on_gpu = dict[str, float](), decoder._decoder
    if not isinstance(on_gpu, GpuDecoder):
        return found

    def timed(step: str, action: Callable[[], Any]) -> Any:
        for _ in range(3):
            torch.cuda.synchronize()
            started = time.perf_counter()
            result = action()
            torch.cuda.synchronize()
            found[step] = 1e3 * (time.perf_counter() - started)
        return result

    lane = on_gpu._lane
    streams = timed("open", lambda: [module._open_stream(d, "jpeg", 10**9) for d in batch])
    with lane.work():
        images = timed("nvImageCodec", lambda: on_gpu._decode(streams))
        shown, sampled = timed("DALI", lambda: on_gpu._resize(images, lane))
        pixels = shown.float()
        timed("statistics", lambda: measure(pixels))
        timed("constant rows", lambda: constant_rows_fractions(sampled))
        timed("normalise", lambda: on_gpu._normalise(pixels.clone()))
    return found


@contextmanager
def multiplying(device: str) -> Iterator[None]:
    """Matrix products in a thread meanwhile, as an encoder's passes of 100 ms and more."""
    stop, side = threading.Event(), 8192 if device == "cuda" else 256

    def multiply() -> None:
        a = torch.randn(side, side, device=device).to(torch.bfloat16)
        while not stop.is_set():
            for _ in range(100 if device == "cuda" else 1):
                a @ a
            if device == "cuda":
                torch.cuda.current_stream().synchronize()

    thread = threading.Thread(target=multiply)
    thread.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def pictures(device: str, photos: list[bytes]) -> None:
    """How far the device's pictures are from the CPU's; and damaged files, what is refused."""
    batch = repeated(photos, 256)
    here, there = decoder_on(device, 256)(batch), decoder_on("cpu", 256)(batch)
    print(
        f"photographs refused: {len(batch) - len(here.ok)} and on CPU {len(batch) - len(there.ok)}"
    )
    print(f"given up by the device's decoder, read by the CPU's: {here.again_on_cpu.sum()}")
    off = levels(here, there)
    print(
        f"levels of 255 off: mean {off.mean():.3f}, p99.9 {np.quantile(off, 0.999):.1f}, "
        f"most {off.max():.1f}"
    )
    apart = np.abs(here.constant_rows_fraction - there.constant_rows_fraction)
    print(f"constant_rows_fraction, off: at most {np.nanmax(apart):.4f}")
    for name in ("mean_luminance", "sharpness"):
        ratio = getattr(here, name) / getattr(there, name)
        print(f"{name}, ratio: {ratio.min():.4f} to {ratio.max():.4f}")
    rng = np.random.default_rng(0)
    outcomes = Counter[str]()
    far, cuts = 0.0, list[np.ndarray]()
    for _ in range(4):
        broken = [damaged(data, rng) for data in batch]
        here, there = decoder_on(device, 256)(broken), decoder_on("cpu", 256)(broken)
        for i, (mine, theirs) in enumerate(zip(here.errors, there.errors, strict=True)):
            again = ", by the CPU's decoder" if here.again_on_cpu[i] else ""
            outcomes[f"{mine or 'read'}{again}; on CPU {theirs or 'read'}"] += 1
        if np.array_equal(here.ok, there.ok):
            far += float((levels(here, there).mean(axis=(1, 2, 3)) > 3).sum())
            cut = here.constant_rows_fraction - there.constant_rows_fraction
            cuts.append(np.abs(cut[here.ok]))
    for outcome, count in outcomes.most_common():
        print(f"damaged: {count:4d} {outcome}")
    print(f"damaged, read on both, pictures more than 3 levels apart on average: {far:.0f}")
    off = np.concatenate([np.zeros(1), *cuts])
    print(f"damaged, constant_rows_fraction off: mean {off.mean():.3f}, most {off.max():.3f}")


def in_flight(device: str, photos: list[bytes]) -> None:
    """Batches that overlap, beside a busy encoder, against ones waited for at each step."""
    sizes = [image_size(data) for data in photos]
    ((one_size, _),) = Counter(sizes).most_common(1)
    equal = [data for data, size in zip(photos, sizes, strict=True) if size == one_size]
    for what, source, n in (("1", photos, 1), ("64 of one size", equal, 64), ("64", photos, 64)):
        batches = [repeated(source[k:] + source[:k], n) for k in range(8)]
        one_by_one = waiting(decoder_on(device, n))
        expected = [one_by_one(batch) for batch in batches]
        with multiplying(device):
            begun = begun_ahead(batches * 4, decoder_on(device, n).begin, 2)
            wrong = [differs(finish(), expected[k % 8]) for k, (_, finish) in enumerate(begun)]
        print(f"batches of {what}: {sum(wrong)} of {len(wrong)} not those of a decoder that waits")


def differs(here: DecodedBatch, there: DecodedBatch) -> bool:
    """Whether a bit of the pictures or of their sharpness does."""
    same = torch.equal(here.pixels, there.pixels)
    return not (same and np.array_equal(here.sharpness, there.sharpness))


def waiting(decoder: ImageDecoder) -> ImageDecoder:
    """The decoder, the device idle before and after each of its steps."""
    on_gpu: Any = decoder._decoder
    if not isinstance(on_gpu, GpuDecoder):
        return decoder

    def waited(step: Callable[..., Any]) -> Callable[..., Any]:
        def alone(*args: Any) -> Any:
            torch.cuda.synchronize()
            result = step(*args)
            torch.cuda.synchronize()
            return result

        return alone

    for name in ("_decode", "_resize", "_normalise"):
        setattr(on_gpu, name, waited(getattr(on_gpu, name)))
    return decoder


def recording(device: str, photos: list[bytes]) -> None:
    """A CUDA graph recorded while another thread decodes: the embeddings of the kernels alone?"""
    pixels = decoder_on("cpu", 64)(repeated(photos, 64)).pixels.to(device)
    expected = offline(device, "float32").encode(pixels)
    stop, decoder, n_decoded = threading.Event(), decoder_on(device, 64), [0]

    def decode_on() -> None:
        while not stop.is_set():
            n_decoded[0] += len(decoder(repeated(photos, 64)).ok)

    thread = threading.Thread(target=decode_on)
    thread.start()
    try:
        time.sleep(0.5)
        for k in range(4):
            found = offline(device, "float32", "graph").encode(pixels)
            print(f"recording {k}: {np.abs(found - expected).max():.1e} off at most")
    finally:
        stop.set()
        thread.join()
    print(f"decoded meanwhile: {n_decoded[0]}")


def arithmetic(device: str, photos: list[bytes]) -> None:
    """The offline model in float32 and in each type, against float32 on CPU."""
    from curator_assets.kernels.precision import candidates

    pixels = decoder_on("cpu", 64)(repeated(photos, 64)).pixels
    reference = offline("cpu", "float32").encode(pixels)
    for name in ("float32", *candidates(torch.device(device))):
        found = offline(device, name).encode(pixels)
        cosines = (found.astype(np.float64) * reference).sum(axis=1)
        print(f"{name}: lowest cosine {cosines.min():.7f}, median {np.median(cosines):.7f}")
    model = offline(device, "float32")
    model.batch_size = 1 << 15
    if device == "cuda":
        model.encode(pixels.to(device))
        print(f"out of memory: halved from {1 << 15} to {model.batch_size} images a pass")


def search(device: str, photos: list[bytes]) -> None:
    """131,072 x 768 synthetic vectors at eps .03: the device against the CPU."""
    from synthetic_vectors import clip_like

    from curator_assets.kernels.cell_group import CellGroup
    from curator_assets.kernels.cells import visit_cells
    from curator_assets.kernels.pairs import find_pairs
    from curator_assets.kernels.prefix import principal_directions
    from curator_assets.kernels.recall import draw_queries, sampled_recall

    n, k = (131_072, 2048) if device == "cuda" else (8192, 128)
    vectors = clip_like(n, 768, seed=0)
    rng = np.random.default_rng(0)
    centroids = vectors[np.sort(rng.choice(n, k, replace=False))].copy()
    basis = principal_directions(vectors[:8192], centroids)
    queries = draw_queries(n, np.arange(n), n_queries=2000, seed=0)
    found = {}
    for name in (device, device, "cpu"):
        started = time.perf_counter()
        assignment = visit_cells(
            vectors, centroids, min_cosine=0.97, max_visits=None, bound_fraction=1.0, device=name
        )
        assigned = time.perf_counter()
        group = CellGroup.of(vectors, assignment, np.arange(k), basis)
        grouped = time.perf_counter()
        searched = find_pairs(group, min_cosine=0.97, product_dtype="float32", device=name)
        pairs, ended = searched.pairs, time.perf_counter()
        blocks = [(np.arange(n), vectors)]
        recall = sampled_recall(
            queries, vectors[queries], blocks, pairs, n_rows=n, min_cosine=0.97, device=name
        )
        print(
            f"{name}: assign {assigned - started:.2f} s, find {ended - grouped:.2f} s, recall "
            f"{time.perf_counter() - ended:.2f} s: {recall.recall} of {recall.n_true}; "
            f"{len(assignment.visits)} visits, {searched.counts.n_compared} compared, "
            f"{len(pairs.a)} pairs"
        )
        found[name] = assignment, pairs
    (mine, my_pairs), (theirs, their_pairs) = found[device], found["cpu"]
    print("homes that differ:", int((mine.home != theirs.home).sum()))
    for name in ("a", "b", "cosine"):
        same = np.array_equal(getattr(my_pairs, name), getattr(their_pairs, name))
        print(f"pairs, {name} identical: {same}")


def decoder_on(device: str, batch_size: int) -> ImageDecoder:
    """A decoder for CLIP's input."""
    return ImageDecoder(
        CLIP,
        device=device,
        batch_size=batch_size,
        max_pixels=10**9,
        max_decoding_bytes=30 << 30,
        n_threads=N_CORES,
    )


def offline(device: str, precision: str, execution: str = "eager") -> EncoderModel:
    """The offline model."""
    return load_model(
        "efficientnet_lite0",
        "imagenet",
        device=device,
        precision=precision,
        batch_size=64,
        n_threads=N_CORES,
        execution=execution,
    )


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def repeated(photos: list[bytes], n: int) -> list[bytes]:
    """N of them, from the start again where there are fewer."""
    return list(islice(cycle(photos), n))


def levels(here: DecodedBatch, there: DecodedBatch) -> np.ndarray:
    """float32 [M, 3, S, S], absolute differences on the 0-255 scale."""
    off = (here.pixels.cpu() - there.pixels).abs() * torch.tensor(CLIP.std).view(3, 1, 1) * 255
    found: np.ndarray = off.numpy()
    return found


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A file cut short, cut with an end marker put back, or with some bytes overwritten."""
    kind, at = rng.integers(3), int(rng.integers(len(data) // 4, len(data) - 3))
    if kind < 2:
        return data[:at] + (b"\xff\xd9" if kind else b"")
    changed = bytearray(data)
    for place in rng.integers(2, len(data), 4):
        changed[place] = rng.integers(256)
    return bytes(changed)


SECTIONS: dict[str, Callable[[str, list[bytes]], None]] = {
    "versions": versions,
    "decode": decode,
    "pictures": pictures,
    "in_flight": in_flight,
    "recording": recording,
    "arithmetic": arithmetic,
    "search": search,
}

if __name__ == "__main__":
    sys.exit(main())
