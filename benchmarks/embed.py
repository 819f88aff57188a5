"""Embedding from tar to Parquet, against this machine's limits and against a plain loop.

    python benchmarks/embed.py                                # the offline model, sample crops
    python benchmarks/embed.py --photos /data/photos          # your own photographs
    python benchmarks/embed.py --model ViT-B-32 --images 512  # random weights serve for speed
    python benchmarks/embed.py --model ViT-L-14 --images 64 --no-peer
    python benchmarks/embed.py --boundary                     # what worker processes cost
    python benchmarks/embed.py --device cuda --model ViT-L-14 --images 16384 --no-peer --profile

Each part runs in a process of its own, one after the other, `--rounds` times; the best is shown.
The peers are what a person would write, with Pillow, open_clip's own preprocessing and float32: a
loop over webdataset, and Ray Data (`pip install 'ray[data]'`; left out where absent or on CUDA).
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import count, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import psutil
import torch
from benchmark_models import OFFLINE, model_settings, random_weights
from PIL import Image
from written_tars import commented, write_tar

from curator_assets.engine.workers.worker import MEMORY
from curator_assets.kernels.forms import ONEDNN, PLAIN, is_form_supported
from curator_assets.kernels.forward import EXECUTIONS

if TYPE_CHECKING:
    from curator_assets.defs.embed.arithmetic import Arithmetic
    from curator_assets.engine.stage import Made
    from curator_assets.engine.work import Work
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.encode import EncoderModel
    from curator_assets.settings import Settings

GFLOP = {OFFLINE: 0.8, "ViT-B-32": 8.8, "ViT-L-14": 162.03, "ViT-L-14-quickgelu": 162.03}
"""Of one image: two for each multiplication, as tallied for the visual tower."""

N_TARS = 4
N_TURNS = 5
PEERS = {"peer": "webdataset loop", "ray": "Ray Data"}
PARTS = ("limits", "decode", "encoder", "pipeline", *PEERS, "boundary")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photos", type=Path, help="a folder of photographs; else made from samples"
    )
    parser.add_argument("--images", type=int, default=512, help="how many, photographs repeating")
    parser.add_argument("--model", default=OFFLINE, choices=GFLOP)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", default="auto", help="of the encoder, as in curator.yaml")
    parser.add_argument("--execution", default="eager", choices=EXECUTIONS, help="likewise")
    parser.add_argument("--executions", nargs="*", choices=EXECUTIONS, help="of the encoder alone")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--boundary", action="store_true", help="only what a worker process costs")
    parser.add_argument("--profile", action="store_true", help="CUDA: where the GPU's time goes")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    others = arguments.executions or []
    arguments.executions = list(dict.fromkeys([arguments.execution, *others]))
    if arguments.part:
        print(json.dumps(globals()[f"measure_{arguments.part}"](arguments)))
        return
    with tempfile.TemporaryDirectory(prefix="embed-") as folder:
        arguments.folder = Path(folder)
        write_tars(arguments)
        if arguments.boundary:
            costs = [child("boundary", arguments)["cost"] for _ in range(N_TURNS)]
            print(f"a worker costs {statistics.median(costs):.2%} of the CPU-seconds, the median")
            return
        parts = [part for part in PARTS[:-1] if not (part in PEERS and arguments.no_peer)]
        has_ray_data = find_spec("ray") and find_spec("pandas")
        if "ray" in parts and (arguments.device != "cpu" or not has_ray_data):
            parts.remove("ray")
            print("left out: Ray Data (CPU only; pip install 'ray[data]')", file=sys.stderr)
        found = [{p: child(p, arguments) for p in parts} for _ in range(arguments.rounds)]
    best = {part: best_of([figures[part] for figures in found]) for part in parts}
    report(best, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(best, indent=2))


def child(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one part."""
    options = ["--model", arguments.model, "--device", arguments.device]
    options += ["--images", str(arguments.images), "--folder", str(arguments.folder)]
    options += ["--precision", arguments.precision, "--execution", arguments.execution]
    options += ["--executions", *arguments.executions, *["--profile"] * arguments.profile]
    command = [sys.executable, __file__, "--part", part, *options]
    environment = os.environ | MEMORY  # as in a worker
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{part} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found = done.stdout.splitlines()[-1]
    print(f"{part}: {found}", file=sys.stderr, flush=True)  # what a later part hides no more
    figures: dict[str, Any] = json.loads(found)
    return figures


def best_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The highest of each number; the lowest of core-milliseconds."""
    return {
        name: (min if name.endswith("core_ms") else max)(r[name] for r in rounds)
        if isinstance(value, int | float)
        else value
        for name, value in rounds[0].items()
    }


def report(found: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Print the tables."""
    limits, gflop = found["limits"], GFLOP[arguments.model]
    pipeline, encoder = found["pipeline"], found["encoder"]
    alone = {
        execution: encoder[f"{execution}_images_per_second"] for execution in arguments.executions
    }
    precision = pipeline["precision"]
    matmul = limits.get(f"{precision}_tflops", limits["float32_tflops"])
    bound = 1000 * matmul / gflop
    n_cores = len(os.sched_getaffinity(0))
    print(f"{arguments.model} on {arguments.device}, {n_cores} cores, {limits['device']}")
    print(
        f"{arguments.images} images of {found['decode']['mean_bytes'] / 1000:.0f} kB on average\n"
    )
    print("| step | images/s | limit, measured here | share of it |")
    print("|---|---|---|---|")
    rows = [
        (f"encoder alone, {execution}", rate, bound, "matrix products")
        for execution, rate in alone.items()
    ]
    rows += [
        ("tar to Parquet", pipeline["images_per_second"], bound, "matrix products"),
        ("tar to Parquet", pipeline["images_per_second"], alone[arguments.execution], "encoder"),
        ("decode alone", found["decode"]["images_per_second"], limits["pillow_images"], "Pillow"),
        ("tar to Parquet", pipeline["images_per_second"], limits["read_images"], "reading tars"),
    ]
    for step, rate, limit, of in rows:
        print(f"| {step} | {rate:.1f} | {limit:.1f} ({of}) | {rate / limit:.1%} |")
    print(f"\nmatrix products: {matmul:.2f} TFLOP/s in {precision}; {gflop} GFLOP an image")
    print(f"chosen: {pipeline['arithmetic']}, cosine to float32: {pipeline['lowest_cosine']}")
    if arguments.device == "cpu":
        report_cores(found, n_cores)
    shares = {step: f"{seconds:.1f}" for step, seconds in pipeline["seconds"].items()}
    print(f"busy seconds of each step, overlapped: {shares}")
    for line in pipeline["profile"]:
        print(line)
    for part in PEERS.keys() & found.keys():
        peer = found[part]["images_per_second"]
        times = pipeline["images_per_second"] / peer
        print(f"{PEERS[part]}: {peer:.1f} images/s; {times:.2f} times that")


def report_cores(found: dict[str, dict[str, Any]], n_cores: int) -> None:
    """Where the cores' time goes, and how near the pipeline comes to never letting them wait."""
    encode, plain = found["encoder"]["core_ms"], found["encoder"]["plain_core_ms"]
    decode, whole = found["decode"]["core_ms"], found["pipeline"]["core_ms"]
    host = max(0.0, whole - encode - decode)
    bound = 1000 * n_cores / (encode + decode + host)
    rate = found["pipeline"]["images_per_second"]
    print(
        f"core-ms an image: encode {encode:.2f} (plain float32 {plain:.2f}), decode {decode:.2f}, "
        f"host {host:.2f} (the rest of the pipeline's {whole:.2f})\n"
        f"tar to Parquet: {rate / bound:.1%} of the {bound:.1f} images/s of cores that never wait"
    )


# --- what is embedded


def write_tars(arguments: argparse.Namespace) -> None:
    """Tars of photographs, no two of the same bytes, or the second one would not be embedded."""
    numbered = zip(count(), cycle(photographs(arguments.photos)), strict=False)
    images = [commented(data, i) for i, data in islice(numbered, arguments.images)]
    (arguments.folder / "tars").mkdir()
    for k in range(N_TARS):
        members = (
            (f"{i:06d}.{ext}", content)
            for i, data in enumerate(images[k::N_TARS])
            for ext, content in (("jpg", data), ("txt", b"a photograph"))
        )
        write_tar(arguments.folder / "tars" / f"{k:05d}.tar", members)


def photographs(folder: Path | None) -> list[bytes]:
    """JPEG files of a folder; or crops of sample photographs, enlarged to 500 x 400."""
    if folder:
        found = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]
        if not found:
            sys.exit(f"--photos: {folder} holds no .jpg")
        return found
    from curator_assets.demo.photos import crops

    made = []
    for crop in crops():
        data = io.BytesIO()
        crop.image.resize((500, 400), Image.Resampling.LANCZOS).save(data, "JPEG", quality=92)
        made.append(data.getvalue())
    return made


def encoded_images(folder: Path) -> Iterator[bytes]:
    """The photographs, out of the tars."""
    for path in sorted((folder / "tars").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    yield tar.extractfile(member).read()  # type: ignore[union-attr]


# --- the parts, each in a process of its own


def seconds_of(action: Callable[[], object], device: str) -> float:
    """How long one call takes, after a first one that warms up."""

    def done() -> None:
        action()
        if device == "cuda":
            torch.cuda.synchronize()

    done()
    started = time.perf_counter()
    done()
    return time.perf_counter() - started


def core_ms_of(action: Callable[[], object], n_images: int) -> float:
    """Core-milliseconds an image of one call, when it is warm."""
    started = time.process_time()
    action()
    return 1000 * (time.process_time() - started) / n_images


def measure_limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the machine can do at best: matrix products, decoding by Pillow, reading."""
    from concurrent.futures import ThreadPoolExecutor

    from curator_assets.kernels.precision import candidates

    device = arguments.device
    side, repeats = (8192, 8) if device == "cuda" else (2048, 8)
    figures: dict[str, Any] = {}
    for name in ("float32", *candidates(torch.device(device))):
        a = torch.randn(side, side, device=device).to(getattr(torch, name))
        b = torch.randn(side, side, device=device).to(getattr(torch, name))

        def products(a: torch.Tensor = a, b: torch.Tensor = b) -> None:
            for _ in range(repeats):
                a @ b

        figures[f"{name}_tflops"] = 2e-12 * repeats * side**3 / seconds_of(products, device)
    if is_form_supported(ONEDNN, torch.float32) and device == "cpu":  # MKL is not always faster
        a = torch.randn(side, side)
        packed = torch.ops.mkldnn._reorder_linear_weight(a, side)

        def in_onednn() -> None:
            for _ in range(repeats):
                torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")

        rate = 2e-12 * repeats * side**3 / seconds_of(in_onednn, device)
        figures["float32_tflops"] = max(figures["float32_tflops"], rate)
    images = list(islice(encoded_images(arguments.folder), 256))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:

        def decode(data: bytes) -> None:
            Image.open(io.BytesIO(data)).convert("RGB").load()

        figures["pillow_images"] = len(images) / seconds_of(
            lambda: list(threads.map(decode, images)), "cpu"
        )
    paths = sorted((arguments.folder / "tars").glob("*.tar"))
    read = seconds_of(lambda: [path.read_bytes() for path in paths], "cpu")
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return figures | {"read_images": arguments.images / read, "device": name}


def settings_of(arguments: argparse.Namespace) -> Settings:
    """A project over the tars, its output anew."""
    from curator_assets.settings import Settings

    return Settings.model_validate(
        {
            "source": str(arguments.folder / "tars"),
            "output": tempfile.mkdtemp(dir=arguments.folder),
            "model": {
                **model_settings(arguments.model, arguments.folder),
                "device": arguments.device,
                "precision": arguments.precision,
                "execution": arguments.execution,
            },
        }
    )


def work_on(arguments: argparse.Namespace) -> Work:
    """What stages work with."""
    from curator_assets.engine.work import Work
    from curator_assets.storage.shards.source import Source

    settings = settings_of(arguments)
    shards = tuple(Source(settings.source).list_shards())
    return Work(settings, shards, logging.getLogger("benchmark"))


def measure_decode(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes to the model's input, by the pipeline's decoder; one batch ahead, as there."""
    from curator_assets.kernels.ahead import begun_ahead
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.encode import default_batch_size
    from curator_assets.kernels.resize import Preprocessing

    n_cores = len(os.sched_getaffinity(0))
    size = default_batch_size(torch.device(arguments.device))
    size *= n_cores if arguments.device == "cpu" else 1
    decoder = ImageDecoder(
        Preprocessing(224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), "bicubic", "shortest", 0),
        device=arguments.device,
        batch_size=size,
        max_pixels=10**8,
        max_decoding_bytes=4 << 30,
        n_threads=n_cores,
    )
    images = list(encoded_images(arguments.folder))
    batches = [images[i : i + size] for i in range(0, len(images), size)]

    def decode() -> None:
        for _, finish in begun_ahead(batches, decoder.begin, 1):
            finish()

    seconds, core_ms = seconds_of(decode, arguments.device), core_ms_of(decode, len(images))
    mean_bytes = float(np.mean([len(data) for data in images]))
    return {
        "images_per_second": len(images) / seconds,
        "core_ms": core_ms,
        "mean_bytes": mean_bytes,
    }


def loaded(
    arguments: argparse.Namespace,
) -> tuple[Work, Arithmetic, ImageDecoder, EncoderModel]:
    """The work of the pipeline, its choice of arithmetic, its decoder and its encoder."""
    from curator_assets.defs.embed.arithmetic import chosen_arithmetic
    from curator_assets.defs.embed.embedding_weights import weights_in_force

    work = work_on(arguments)
    choice = chosen_arithmetic(work, weights_in_force(work), work.shards)
    return work, choice, *work.encoder.load(choice.precision, choice.form)


def measure_encoder(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ready tensors to embeddings, in the precision and the batches of the pipeline."""
    from curator_assets.kernels.ahead import begun_ahead

    work, _, decoder, model = loaded(arguments)
    images = list(islice(encoded_images(arguments.folder), decoder.batch_size))
    pixels = decoder(images).pixels
    n_batches = max(1, arguments.images // len(images))
    figures, n_images = {}, n_batches * len(images)

    def encode(candidate: EncoderModel) -> None:
        begun = begun_ahead(range(n_batches), lambda _: candidate.begin(pixels), 1)
        for _, finish in begun:
            finish()

    for execution in arguments.executions:
        action = partial(encode, replace(model, execution=execution))
        seconds = seconds_of(action, arguments.device)
        figures[f"{execution}_images_per_second"] = n_images / seconds
        if execution == arguments.execution:  # the pipeline's
            figures["core_ms"] = core_ms_of(action, n_images)
    if arguments.device == "cpu":
        plain = partial(encode, work.encoder.load("float32", PLAIN)[1])
        plain()
        figures["plain_core_ms"] = core_ms_of(plain, n_images)
    return figures


def measure_pipeline(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tars to Parquet: the asset's own stage, in a worker that has done a shard before."""
    from curator_assets.defs.embed.arithmetic import chosen_arithmetic
    from curator_assets.defs.embed.embedding_weights import weights_in_force

    work = work_on(arguments)
    choice = chosen_arithmetic(work, weights_in_force(work), work.shards)
    embedded(replace(work, shards=work.shards[:1]))
    started, cpu_before = time.perf_counter(), cpu_seconds()
    made = embedded(work)
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu_before
    busy = Counter[str]()
    for outcome in made:
        steps = ("read", "decode", "encode", "write")
        busy.update({step: outcome.metadata[f"{step}_seconds"] for step in steps})
    n_images = sum(outcome.metadata["n_encoded"] for outcome in made)
    if n_images != arguments.images:  # images per second would be of others
        sys.exit(f"{n_images:,} of {arguments.images:,} images were encoded, all should have been")
    return {
        "images_per_second": n_images / seconds,
        "core_ms": 1000 * cpu / n_images,
        "precision": choice.precision,
        "arithmetic": str(choice),
        "lowest_cosine": choice.lowest_cosine,
        "seconds": dict(busy),
        "profile": profiled(work, arguments.folder)
        if arguments.profile and arguments.device == "cuda"
        else [],
    }


def embedded(work: Work) -> list[Made]:
    """What became of each shard; all must be made."""
    from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
    from curator_assets.engine.making import finished
    from curator_assets.engine.stage import Advanced, Finished

    done = finished(IMAGE_EMBEDDINGS, work.shards, work)
    outcomes = [outcome for outcome in done if not isinstance(outcome, Advanced)]
    made = [outcome.made for outcome in outcomes if isinstance(outcome, Finished)]
    if len(made) < len(work.shards):
        sys.exit(f"not everything was embedded: {outcomes}")
    return made


def measure_boundary(arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU-seconds of embedding in a worker and in this process, both warm."""
    from curator_assets.engine.workers import supervision

    work = work_on(arguments)
    seconds = dict.fromkeys((True, False), 0.0)
    for is_warm in (False, True):
        for runs_here in seconds:
            with patch.object(supervision, "runs_here", lambda _, here=runs_here: here):
                before = cpu_seconds()
                embedded(work)
                if is_warm:
                    seconds[runs_here] = cpu_seconds() - before
    here, in_worker = seconds[True], seconds[False]
    return {"here_seconds": here, "worker_seconds": in_worker, "cost": in_worker / here - 1}


def cpu_seconds() -> float:
    """Of this process and its workers so far."""
    processes = [psutil.Process(), *psutil.Process().children()]
    return sum(p.cpu_times().user + p.cpu_times().system for p in processes)


def profiled(work: Work, folder: Path) -> list[str]:
    """The pipeline once more, under torch's profiler: lines that say what kept the GPU busy."""
    from torch.profiler import ProfilerActivity, profile

    from curator_assets.engine.workers import supervision

    with (
        patch.object(supervision, "runs_here", lambda _: True),  # a profiler sees its own process
        profile(activities=[ProfilerActivity.CUDA]) as profiler,
    ):
        embedded(work)
    trace = folder / "trace.json"
    profiler.export_chrome_trace(str(trace))
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    events = json.loads(trace.read_text())["traceEvents"]
    work_done = [event for event in events if event.get("cat") in kinds]
    by_stream: dict[int, list[Any]] = {}
    for event in work_done:
        by_stream.setdefault(event["args"]["stream"], []).append(event)
    totals = {stream: sum(e["dur"] for e in done) for stream, done in by_stream.items()}
    encoder = by_stream[max(totals, key=totals.__getitem__)]
    start = min(e["ts"] for e in encoder)
    end = max(e["ts"] + e["dur"] for e in encoder)
    span = end - start
    lines = [
        f"profile: the encoder's stream is busy {union(encoder) / span:.1%} of {span / 1e6:.2f} s, "
        f"any stream {union(work_done) / span:.1%}"
    ]
    for stream, done in sorted(by_stream.items(), key=lambda item: -totals[item[0]])[:6]:
        lines.append(f"  stream {stream}: {len(done)} items, {union(done) / span:.1%} busy")
    time_of, count_of = Counter[str](), Counter[str]()
    for event in work_done:
        time_of[event["name"]] += event["dur"]
        count_of[event["name"]] += 1
    for name, microseconds in time_of.most_common(16):
        lines.append(f"  {microseconds / span:6.1%} {count_of[name]:6d} x {name[:90]}")
    return lines


def union(events: list[Any]) -> float:
    """Microseconds in which at least one of the events was going on."""
    busy, until = 0.0, -1.0
    for start, end in sorted((e["ts"], e["ts"] + e["dur"]) for e in events):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy


def measure_peer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tars to embeddings in memory, as a plain script does it."""
    import webdataset

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, preprocess = of_open_clip(arguments)
    tars = [str(path) for path in sorted((arguments.folder / "tars").glob("*.tar"))]

    @torch.inference_mode()
    def embed(tars: list[str]) -> int:
        dataset = webdataset.WebDataset(tars, shardshuffle=False).decode("pil").to_tuple("jpg")
        n = 0
        for (images,) in dataset.map_tuple(preprocess).batched(32):
            features = model.encode_image(images.to(arguments.device))
            n += len((features / features.norm(dim=-1, keepdim=True)).cpu().numpy())
        return n

    embed(tars[:1])
    started = time.perf_counter()
    n = embed(tars)
    return {"images_per_second": n / (time.perf_counter() - started)}


def measure_ray(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same by Ray Data: an actor a core, each decodes and embeds the batches that it gets.

    Its actors start anew for each dataset: what one tar takes is subtracted from what all take.
    """
    import ray

    n_cores = len(os.sched_getaffinity(0))
    ray.init(num_cpus=n_cores, include_dashboard=False, log_to_driver=False)

    class Embed:
        def __init__(self) -> None:
            torch.set_num_threads(1)
            self.model, self.preprocess = of_open_clip(arguments)

        @torch.inference_mode()
        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            images = [Image.open(io.BytesIO(data)).convert("RGB") for data in batch["jpg"]]
            pixels = torch.stack([self.preprocess(image) for image in images])
            features = self.model.encode_image(pixels)
            return {"embedding": (features / features.norm(dim=-1, keepdim=True)).numpy()}

    def embed(tars: list[str]) -> tuple[int, float]:
        started = time.perf_counter()
        read = ray.data.read_webdataset(tars, suffixes=["jpg"], decoder=None)
        done = read.map_batches(Embed, batch_size=16, concurrency=n_cores, num_cpus=0.5)
        n = sum(len(batch["embedding"]) for batch in done.iter_batches())
        return n, time.perf_counter() - started

    tars = [str(path) for path in sorted((arguments.folder / "tars").glob("*.tar"))]
    (n_one, one), (n_all, whole) = embed(tars[:1]), embed(tars)
    return {"images_per_second": (n_all - n_one) / (whole - one)}


def of_open_clip(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """The model and its preprocessing, as open_clip makes them."""
    import open_clip

    if arguments.model == OFFLINE:
        from curator_assets.models.offline_folder import write_open_clip_folder
        from curator_assets.models.offline_model import installed_checkpoint

        folder = arguments.folder / "offline"
        folder.mkdir(exist_ok=True)
        write_open_clip_folder(folder, installed_checkpoint())
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    else:
        weights = str(random_weights(arguments.model, arguments.folder))
        model, _, preprocess = open_clip.create_model_and_transforms(arguments.model, weights)
    return model.eval().to(arguments.device), preprocess


if __name__ == "__main__":
    main()
