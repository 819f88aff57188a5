"""Time and peak memory of every asset as the number of shards grows.

    python benchmarks/scale.py                              # 1, 8 and 64 shards of 32 images
    python benchmarks/scale.py --images 2 --sizes 64 1024   # many shards of few images
    python benchmarks/scale.py --sizes 64 --profile         # and where the time goes

Shards hold windows of the demo's photographs, and copies of a few of them. The assets are made one
after another, each in a process of its own, by what they do under Dagster without its events:
their stage, and the ledger. The clock starts after imports, with the model loaded and warm. Of
`--rounds` rounds, each from nothing, the lowest time and the lowest peak memory are shown.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
import io
import json
import logging
import os
import pstats
import random
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from written_tars import write_tar

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.duplicate_groups import DUPLICATE_GROUPS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.arithmetic import chosen_arithmetic
from curator_assets.defs.embed.embedding_weights import weights_in_force
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.filter.filter_scores import FILTER_SCORES
from curator_assets.defs.output.curation_report import CURATION_REPORT
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.engine.freshness import examine
from curator_assets.engine.making import Recorded, make
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.stage import Failed, Stage
from curator_assets.engine.work import Work
from curator_assets.settings_file import load_settings
from curator_assets.storage.arrivals import record_arrivals
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tars import TarContent
from curator_assets.storage.store import Store

STAGES = {stage.name: stage for stage in GRAPH.stages if not stage.is_optional}
BY_SHARD = [stage for stage in STAGES.values() if stage.by is Partitioning.SHARD]
GLOBAL = [stage for stage in STAGES.values() if stage.by is not Partitioning.SHARD]
KERNELS = "curator_assets.kernels"
IMPORTS = {
    IMAGE_EMBEDDINGS: [f"{KERNELS}.{name}" for name in ("ahead", "decode", "encode")],
    FILTER_SCORES: [f"{KERNELS}.heads", "curator_assets.models.load_head"],
    CENTROIDS: [f"{KERNELS}.kmeans"],
    CLUSTER_ASSIGNMENTS: [f"{KERNELS}.{name}" for name in ("cells", "device")],
    NEAR_DUPLICATE_PAIRS: [f"{KERNELS}.{name}" for name in ("pairs", "recall", "device")],
    DUPLICATE_GROUPS: [f"{KERNELS}.{name}" for name in ("pairs", "resolution", "device")],
    DEDUPLICATED_SHARDS: ["webdataset.tariterators"],
    CURATION_REPORT: [
        *(f"{KERNELS}.{name}" for name in ("pairs", "resolution", "device")),
        *(f"matplotlib.{name}" for name in ("figure", "backends.backend_svg", "colors")),
    ],
}
"""What a stage imports when it is first used."""

SIZE = 160, 120
EMBEDDING_DIM = 1280
COPIES_PER_SHARD = 2
WARM_IMAGES = 32
SETTINGS = {
    "source": "tars",
    "output": "curated",
    "model": {"name": "efficientnet_lite0", "pretrained": "imagenet", "precision": "float32"},
    "heads": {"beauty": {"weights": "beauty.pt", "embedding_model": "efficientnet_lite0"}},
    "filters": [{"score": "beauty", "min": -1000}, {"score": "mean_luminance", "min": 0.02}],
    "clusters": {"n_cell_groups": 4},
}
COUNTS = {
    IMAGE_EMBEDDINGS: ("n_samples",),
    NEAR_DUPLICATE_PAIRS: ("n_pairs", "n_identical"),
    DUPLICATE_GROUPS: ("n_duplicates", "n_groups"),
}
"""What is told of the images, summed over the partitions."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 64], help="shards")
    parser.add_argument("--images", type=int, default=32, help="images of a shard")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="print what took the time")
    parser.add_argument("--folder", type=Path, help="where to work; on a local disk")
    parser.add_argument("--child", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measure_here(STAGES[arguments.child], arguments.folder, profile=arguments.profile)
        return
    found = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="scale-") as folder:
        for n in sorted(arguments.sizes):
            rounds = []
            for k in range(arguments.rounds):
                project = Path(folder) / f"{n}-{k}"
                write_project(project, n, arguments.images)
                rounds.append({s: child(s, project, arguments) for s in STAGES.values()})
                subprocess.run(["rm", "-rf", str(project)], check=True)
            found[n] = {s: best_of([r[s] for r in rounds]) for s in STAGES.values()}
    report(found, arguments.images)


def best_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The lowest of each number."""
    return {name: min(r[name] for r in rounds) for name in rounds[0]}


def child(stage: Stage, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one asset, made in a process of its own."""
    command = [sys.executable, __file__, "--child", stage.name, "--folder", str(folder)]
    command += ["--profile"] * arguments.profile
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{stage.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    *lines, last = done.stdout.splitlines()
    print("\n".join([stage.name, *lines, ""]) if arguments.profile else "", end="")
    figures: dict[str, Any] = json.loads(last)
    return figures


def report(found: dict[int, dict[Stage, dict[str, Any]]], n_images: int) -> None:
    """Print the tables."""
    sizes = list(found)
    print(f"{len(os.sched_getaffinity(0))} cores; {n_images} images a shard\n")
    told = [(stage, count) for stage, counts in COUNTS.items() for count in counts]
    rows = [[n, *(f"{found[n][stage][count]:,}" for stage, count in told)] for n in sizes]
    table(["shards", *(count for _, count in told)], rows)
    heads = ["asset", *(f"s at {n}" for n in sizes), *(f"ms a shard at {n}" for n in sizes)]
    heads += [f"growth a shard, {a} to {b}" for a, b in pairwise(sizes)]
    for title, stages in ("by shard", BY_SHARD), ("global", GLOBAL):
        rows = []
        for stage in stages:
            seconds = [found[n][stage]["seconds"] for n in sizes]
            per_shard = [s / n for s, n in zip(seconds, sizes, strict=True)]
            row = [stage.name, *(f"{s:.3f}" for s in seconds)]
            row += [f"{1000 * s:.2f}" for s in per_shard]
            rows.append([*row, *(f"{b / a:.2f}" for a, b in pairwise(per_shard))])
        print(f"{title}; growth 1.00: as many ms a shard\n")
        table(heads, rows)
    print("resident memory in MiB; before: with imports and model, nothing made\n")
    rows = []
    for stage in STAGES.values():
        memory = [found[sizes[-1]][stage]["start_mib"]]
        memory += [found[n][stage]["peak_mib"] for n in sizes]
        rows.append([stage.name, *(f"{mib:.0f}" for mib in memory)])
    table(["asset", "before", *(f"peak at {n}" for n in sizes)], rows)


def table(heads: list[str], rows: list[list[Any]]) -> None:
    """Print a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    print("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n", flush=True)


# --- what is curated


def write_project(folder: Path, n_shards: int, n_images: int) -> None:
    """Tars of small photographs with planted copies, settings, and the weights of a head."""
    import torch

    (folder / "tars").mkdir(parents=True)
    (folder / "curator.yaml").write_text(yaml.safe_dump(SETTINGS))
    torch.manual_seed(0)
    head = {"weight": torch.randn(1, EMBEDDING_DIM), "bias": torch.zeros(1)}
    torch.save(head, folder / "beauty.pt")
    pictures = [crop.image for crop in crops()]
    rng = random.Random(0)
    before: list[Image.Image] = []
    for k in range(n_shards):
        n_copies = min(COPIES_PER_SHARD, n_images // 2)
        shown = [window(rng.choice(pictures), rng) for _ in range(n_images - n_copies)]
        copied = [*shown[:1], *(before or shown)[-1:]][:n_copies]  # one here, one before
        images = [jpeg(image, 80 + rng.randrange(11)) for image in shown]
        images += [jpeg(image, 95) for image in copied]
        members = (
            (f"{i:06d}.{ext}", content)
            for i, data in enumerate(images)
            for ext, content in (("jpg", data), ("txt", b"a part of a photograph"))
        )
        write_tar(folder / "tars" / f"{k:06d}.tar", members)
        before = shown


def window(picture: Image.Image, rng: random.Random) -> Image.Image:
    """A part of a picture, at most half as wide, made 160 x 120."""
    width = round(picture.width * rng.uniform(0.25, 0.5))
    height = min(round(width * SIZE[1] / SIZE[0]), picture.height)
    left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    return picture.resize(SIZE, Image.Resampling.LANCZOS, (left, top, left + width, top + height))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The bytes of a JPEG file."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return data.getvalue()


# --- one asset, in a process of its own


def measure_here(stage: Stage, folder: Path, *, profile: bool) -> None:
    """Make all partitions of an asset in this process, and print a line of JSON.

    Raises:
        RuntimeError: a partition could not be made, or there was nothing to make.
    """
    work = work_on(folder)
    warm(stage, work)
    start_mib = memory_mib("VmRSS")
    profiler, made = cProfile.Profile(), list[Recorded]()
    if profile:
        profiler.enable()
    started = time.perf_counter()
    examined = examine(stage, work, work.partitions(stage))
    failed = list(examined.failed)
    for outcome in make(stage, [*examined.stale, *examined.undecided], work):
        if isinstance(outcome, Recorded):
            made.append(outcome)
        elif isinstance(outcome, Failed):
            failed.append(outcome)
    seconds = time.perf_counter() - started
    profiler.disable()
    work.weights.remember()  # as a refresh does: the next process need not read them again
    if failed or not made:
        raise RuntimeError(
            f"{len(made)} partitions of {stage.name} were made; failed: {failed[:3]}"
        )
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(15)
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(30)
    counts = {c: sum(m.metadata[c] for m in made) for c in COUNTS.get(stage, ())}
    memory = {"start_mib": start_mib, "peak_mib": memory_mib("VmHWM")}
    print(json.dumps({"seconds": seconds, **memory, **counts}))


def work_on(folder: Path) -> Work:
    """What stages work with: all tars of the project, in order of their names."""
    settings = load_settings(folder / "curator.yaml")
    tars = Source(settings.source).list_shards()
    shards = tuple(record_arrivals(Store(settings.output), tars))
    return Work(settings, shards, logging.getLogger("benchmark"))


def warm(stage: Stage, work: Work) -> None:
    """Import what the stage uses; before embedding, load the model and use it once."""
    for module in IMPORTS.get(stage, ()):
        importlib.import_module(module)
    if stage is IMAGE_EMBEDDINGS:
        chosen = chosen_arithmetic(work, weights_in_force(work), work.shards)
        decoder, model = work.encoder.load(chosen.precision, chosen.form)
        with work.tars.open(work.shards[0]) as file:
            samples = TarContent(work.shards[0]).samples(file)
            images = [s.image.data for s in samples if s.image and s.image.data]
        model.encode(decoder(images[:WARM_IMAGES]).pixels)


def memory_mib(line: str) -> float:
    """Resident memory of this process now (`VmRSS`) or at most so far (`VmHWM`)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(s.split()[1]) for s in status if s.startswith(line)) / 1024


if __name__ == "__main__":
    main()
