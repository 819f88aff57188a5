"""How many images the encoder computes for each that there is, by the size of image files.

    python benchmarks/batches.py                 # 1,020 files of each size, batches of 512

What fills up the last batch is computed too: 1,024 for 1,020. The model is a tiny one with random
weights, the files are photographs with as much of comments as it takes to be so large, and all of
it runs in this process, by the pipeline that `image_embeddings` runs.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import tempfile
from collections.abc import Iterator
from itertools import count, cycle, islice
from pathlib import Path

import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from written_tars import commented, write_tar

from curator_assets.models.identity import CONFIG

SIZES = (30_000, 64_000, 160_000, 300_000, 500_000, 1_000_000, 2_500_000, 5_000_000)
N_FILES = 1_020
BATCH_SIZE = 512
N_A_TAR = 340
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1},
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=N_FILES, help="of each size")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    arguments = parser.parse_args()
    print("| file size | images | computed | computed / images |")
    print("|---|---|---|---|")
    kinds = {f"{size / 1000:,.0f} kB": (size,) for size in SIZES} | {"mixed": SIZES}
    with tempfile.TemporaryDirectory(prefix="batches-") as folder:
        model = tiny_model(Path(folder))
        for kind, sizes in kinds.items():
            with tempfile.TemporaryDirectory(dir=folder) as project:
                write_tars(Path(project) / "tars", arguments.files, sizes)
                n, computed = embedded(Path(project), model, arguments.batch_size)
            print(f"| {kind} | {n:,} | {computed:,} | {computed / n:.4f} |", flush=True)


def tiny_model(folder: Path) -> Path:
    """An open_clip folder with random weights."""
    model = folder / "model"
    model.mkdir()
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "size": [32, 32]}
    config = {"model_cfg": TINY, "preprocess_cfg": preprocessing}
    (model / CONFIG).write_text(json.dumps(config))
    (folder / "tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny.json")
    torch.manual_seed(0)
    save_file(open_clip.create_model("tiny").state_dict(), model / "open_clip_model.safetensors")
    return model


def write_tars(folder: Path, n: int, sizes: tuple[int, ...]) -> None:
    """Tars of as many files, their sizes in turn, no two of the same bytes."""
    folder.mkdir()
    files = large_photographs(sizes)
    for start in range(0, n, N_A_TAR):
        numbers = range(start, min(start + N_A_TAR, n))
        members = ((f"{i:06d}.jpg", next(files)) for i in numbers)
        write_tar(folder / f"{start:06d}.tar", members)


def large_photographs(sizes: tuple[int, ...]) -> Iterator[bytes]:
    """JPEG files of these sizes in turn, each another one."""
    from curator_assets.demo.photos import crops

    photographs = []
    for crop in islice(crops(), 16):
        data = io.BytesIO()
        crop.image.resize((320, 240), Image.Resampling.LANCZOS).save(data, "JPEG", quality=80)
        photographs.append(data.getvalue())
    for number, photograph, size in zip(count(), cycle(photographs), cycle(sizes), strict=False):
        yield commented(photograph, number, size - len(photograph))


def embedded(project: Path, model: Path, batch_size: int) -> tuple[int, int]:
    """How many images there were, and how many the model computed."""
    from curator_assets.defs.embed.arithmetic import Arithmetic
    from curator_assets.defs.embed.embedded_tables import embedded as embed
    from curator_assets.defs.embed.stored_tables import StoredTables
    from curator_assets.engine.stage import Made
    from curator_assets.engine.work import Work
    from curator_assets.engine.workers.task import Supervision
    from curator_assets.settings import Settings
    from curator_assets.storage.shards.source import Source

    settings = Settings.model_validate(
        {
            "source": str(project / "tars"),
            "output": str(project / "curated"),
            "model": {
                "name": f"local-dir:{model}",
                "pretrained": "",
                "batch_size": batch_size,
                "precision": "float32",
            },
        }
    )
    shards = tuple(Source(settings.source).list_shards())
    work = Work(settings, shards, logging.getLogger("benchmark"))
    arithmetic = Arithmetic(work.encoder.device_type(), "float32")
    outcomes = embed(
        work, iter(shards), Supervision(), arithmetic=arithmetic, stored=StoredTables(())
    )
    made = [outcome.metadata for outcome in outcomes if isinstance(outcome, Made)]
    assert len(made) == len(shards)
    n_encoded, n_computed = (sum(m[n] for m in made) for n in ("n_encoded", "n_computed"))
    return n_encoded, n_computed


if __name__ == "__main__":
    main()
