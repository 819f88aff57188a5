"""Embedding from tar to Parquet, against this machine's limits and against a plain loop.

    python benchmarks/embed.py                                # the offline model, sample crops
    python benchmarks/embed.py --photos /data/photos          # your own photographs
    python benchmarks/embed.py --model ViT-B-32 --images 512  # random weights serve for speed
    python benchmarks/embed.py --model ViT-L-14 --images 64 --no-peer

Each part runs in a process of its own, one after the other, `--rounds` times; the best is shown.
The peer is what a person would write: webdataset, Pillow, open_clip's own preprocessing, float32.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

OFFLINE = "efficientnet_lite0"
GFLOP = {OFFLINE: 0.8, "ViT-B-32": 8.8, "ViT-L-14": 162.03}
"""Of one image: two for each multiplication, as tallied for the visual tower."""

N_TARS = 4
PARTS = ("limits", "decode", "encoder", "pipeline", "peer")


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
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(globals()[f"measure_{arguments.part}"](arguments)))
        return
    with tempfile.TemporaryDirectory(prefix="embed-") as folder:
        arguments.folder = Path(folder)
        write_tars(arguments)
        parts = [part for part in PARTS if not (part == "peer" and arguments.no_peer)]
        found = [{p: child(p, arguments) for p in parts} for _ in range(arguments.rounds)]
    best = {part: best_of([figures[part] for figures in found]) for part in parts}
    report(best, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(best, indent=2))


def child(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one part."""
    options = ["--model", arguments.model, "--device", arguments.device]
    options += ["--images", str(arguments.images), "--folder", str(arguments.folder)]
    command = [sys.executable, __file__, "--part", part, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{part} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def best_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The highest of each number."""
    return {
        name: max(r[name] for r in rounds) if isinstance(value, int | float) else value
        for name, value in rounds[0].items()
    }


def report(found: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Print the tables."""
    limits, gflop = found["limits"], GFLOP[arguments.model]
    pipeline, encoder = found["pipeline"], found["encoder"]
    precision = pipeline["precision"]
    matmul = limits[f"{precision}_tflops"]
    bound = 1000 * matmul / gflop
    n_cores = len(os.sched_getaffinity(0))
    print(f"{arguments.model} on {arguments.device}, {n_cores} cores, {limits['device']}")
    print(
        f"{arguments.images} images of {found['decode']['mean_bytes'] / 1000:.0f} kB on average\n"
    )
    print("| step | images/s | limit, measured here | share of it |")
    print("|---|---|---|---|")
    rows = [
        ("encoder alone, ready tensors", encoder["images_per_second"], bound, "matrix products"),
        ("tar to Parquet", pipeline["images_per_second"], bound, "matrix products"),
        ("tar to Parquet", pipeline["images_per_second"], encoder["images_per_second"], "encoder"),
        ("decode alone", found["decode"]["images_per_second"], limits["pillow_images"], "Pillow"),
        ("tar to Parquet", pipeline["images_per_second"], limits["read_images"], "reading tars"),
    ]
    for step, rate, limit, of in rows:
        print(f"| {step} | {rate:.1f} | {limit:.1f} ({of}) | {rate / limit:.1%} |")
    print(f"\nmatrix products: {matmul:.2f} TFLOP/s in {precision}; {gflop} GFLOP an image")
    print(f"precision chosen: {precision}, cosine to float32: {pipeline['lowest_cosine']}")
    shares = {step: f"{seconds:.1f}" for step, seconds in pipeline["seconds"].items()}
    print(f"busy seconds of each step, overlapped: {shares}")
    if "peer" in found:
        peer = found["peer"]["images_per_second"]
        print(
            f"peer loop: {peer:.1f} images/s; {pipeline['images_per_second'] / peer:.2f} times that"
        )


# --- what is embedded


def write_tars(arguments: argparse.Namespace) -> None:
    """Tars of photographs, and the settings that embed them."""
    images = list(islice(cycle(photographs(arguments.photos)), arguments.images))
    (arguments.folder / "tars").mkdir()
    for k in range(N_TARS):
        with tarfile.open(arguments.folder / "tars" / f"{k:05d}.tar", "w") as tar:
            for i, data in enumerate(images[k::N_TARS]):
                for ext, content in (("jpg", data), ("txt", b"a photograph")):
                    info = tarfile.TarInfo(f"{i:06d}.{ext}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


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
    action()
    started = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure_limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the machine can do at best: matrix products, decoding by Pillow, reading."""
    from concurrent.futures import ThreadPoolExecutor

    device = arguments.device
    side, repeats = (8192, 8) if device == "cuda" else (2048, 8)
    figures: dict[str, Any] = {}
    for name in ("float32", "bfloat16", "float16"):
        a = torch.randn(side, side, device=device).to(getattr(torch, name))
        b = torch.randn(side, side, device=device).to(getattr(torch, name))

        def products(a: torch.Tensor = a, b: torch.Tensor = b) -> None:
            for _ in range(repeats):
                a @ b

        figures[f"{name}_tflops"] = 2e-12 * repeats * side**3 / seconds_of(products, device)
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


def load(arguments: argparse.Namespace, precision: str) -> tuple[Any, Any]:
    """The pipeline's own decoder and encoder."""
    return settings_and_resources(arguments)[1]["encoder"].load(precision)  # type: ignore[no-any-return]


def settings_and_resources(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """A project over the tars, its output anew."""
    from curator_assets.resources import resources
    from curator_assets.settings import Settings

    name, pretrained = arguments.model, "imagenet"
    if name != OFFLINE:
        pretrained = str(random_weights(name, arguments.folder))
    settings = Settings.model_validate(
        {
            "source": str(arguments.folder / "tars"),
            "output": tempfile.mkdtemp(dir=arguments.folder),
            "model": {"name": name, "pretrained": pretrained, "device": arguments.device},
        }
    )
    return settings, resources(settings)


def random_weights(name: str, folder: Path) -> Path:
    """A checkpoint of a model with seeded random weights."""
    path = folder / f"{name}.pt"
    if not path.exists():
        import open_clip

        torch.manual_seed(0)
        torch.save(open_clip.create_model(name).state_dict(), path)
    return path


def work_on(arguments: argparse.Namespace) -> Any:
    """What stages work with."""
    from curator_assets.defs.stage import Work

    settings, made = settings_and_resources(arguments)
    shards = tuple(made["storage"].tars.list_shards())
    log = logging.getLogger("benchmark")
    return Work(settings, made["storage"], made["encoder"], shards, log)


def measure_decode(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes to the model's input, by the pipeline's decoder."""
    decoder, _ = load(arguments, "float32")
    images = list(encoded_images(arguments.folder))
    batches = [
        images[i : i + decoder.batch_size] for i in range(0, len(images), decoder.batch_size)
    ]
    seconds = seconds_of(lambda: [decoder(batch) for batch in batches], arguments.device)
    mean_bytes = float(np.mean([len(data) for data in images]))
    return {"images_per_second": len(images) / seconds, "mean_bytes": mean_bytes}


def measure_encoder(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ready tensors to embeddings, in the precision and the batches of the pipeline."""
    from curator_assets.defs.precision import chosen_precision

    work = work_on(arguments)
    precision = chosen_precision(work, list(work.shards)).precision
    decoder, model = work.encoder.load(precision)
    images = list(islice(encoded_images(arguments.folder), decoder.batch_size))
    pixels = decoder(images).pixels
    n_batches = max(1, arguments.images // len(images))

    def encode() -> None:
        for _ in range(n_batches):
            model.encode(pixels)

    return {"images_per_second": n_batches * len(images) / seconds_of(encode, arguments.device)}


def measure_pipeline(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tars to Parquet: the asset's own stage; the model is loaded before the clock starts."""
    from collections import Counter

    from curator_assets.defs import image_embeddings
    from curator_assets.defs.precision import chosen_precision

    work = work_on(arguments)
    choice = chosen_precision(work, list(work.shards))
    decoder, model = work.encoder.load(choice.precision)
    model.encode(decoder(list(islice(encoded_images(arguments.folder), decoder.batch_size))).pixels)
    stage = image_embeddings.stage(work)
    started = time.perf_counter()
    made: list[Any] = list(stage.make(list(work.shards)))
    seconds = time.perf_counter() - started
    if any(not hasattr(outcome, "metadata") for outcome in made):
        sys.exit(f"not everything was embedded: {made}")
    busy = Counter[str]()
    for outcome in made:
        steps = ("read", "decode", "encode", "write")
        busy.update({step: outcome.metadata[f"{step}_seconds"] for step in steps})
    n_images = sum(outcome.metadata["n_samples"] for outcome in made)
    return {
        "images_per_second": n_images / seconds,
        "precision": choice.precision,
        "lowest_cosine": choice.lowest_cosine,
        "seconds": dict(busy),
    }


def measure_peer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tars to embeddings in memory, as a plain script does it."""
    import open_clip
    import webdataset

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if arguments.model == OFFLINE:
        from curator_assets.kernels import offline_model

        folder = arguments.folder / "offline"
        folder.mkdir(exist_ok=True)
        offline_model.write_open_clip_folder(folder, offline_model.installed_checkpoint())
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    else:
        weights = str(random_weights(arguments.model, arguments.folder))
        model, _, preprocess = open_clip.create_model_and_transforms(arguments.model, weights)
    model = model.eval().to(arguments.device)
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


if __name__ == "__main__":
    main()
