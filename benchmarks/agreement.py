"""Do CPU and GPU give the same embeddings and remove the same images?

    python benchmarks/agreement.py

The demo's tars are curated on each device, in float32 and in the precision that it chooses, and
held against float32 on CPU. Without a GPU its rows are reported as not run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import torch
import yaml

from curator_assets.cli.refresh import run
from curator_assets.demo.samples import make_shards
from curator_assets.settings_file import load_settings

CASES = [
    ("cpu", "float32"),
    ("cpu", "auto"),
    ("cuda", "float32"),
    ("cuda", "auto"),
]


def main() -> None:
    """Print the table."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="agreement-") as name:
        folder = Path(name)
        make_shards(folder / "tars", n_samples=313, seed=0)
        reference: tuple[dict[str, np.ndarray], set[str]] | None = None
        for device, precision in CASES:
            if device == "cuda" and not torch.cuda.is_available():
                rows.append(f"| {device}, {precision} | not run: no CUDA device | | | | |")
                continue
            found = curate(folder, device, precision)
            reference = reference or found
            rows.append(f"| {device}, {precision} | {compared(found, reference)} |")
    print("| device, precision | lowest cosine | median | removed | only here | only there |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows))


def curate(folder: Path, device: str, precision: str) -> tuple[dict[str, np.ndarray], set[str]]:
    """Embeddings and removed images, by image id, of the tars in `folder`."""
    model = {"name": "efficientnet_lite0", "pretrained": "imagenet"}
    output = f"{device}-{precision}"
    settings: dict[str, Any] = {
        "source": "tars",
        "output": output,
        "model": model | {"device": device, "precision": precision},
    }
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.ephemeral() as instance:
        if not run(instance, load_settings(path), force=False):
            raise RuntimeError(f"the run on {device} in {precision} failed")
    rows = pl.read_parquet(folder / output / "embeddings").drop_nulls("embedding")
    embeddings = dict(zip(rows["image_id"], rows["embedding"].to_numpy(), strict=True))
    return embeddings, set(pl.read_parquet(folder / output / "duplicates/groups.parquet")["id"])


def compared(
    found: tuple[dict[str, np.ndarray], set[str]],
    reference: tuple[dict[str, np.ndarray], set[str]],
) -> str:
    """The cells of a row."""
    embeddings, removed = found
    theirs, removed_there = reference
    if embeddings.keys() != theirs.keys():
        raise RuntimeError("the two devices could read different images")
    cosines = np.array([embedding @ theirs[name] for name, embedding in embeddings.items()])
    only_here, only_there = len(removed - removed_there), len(removed_there - removed)
    lowest, median = cosines.min(), np.median(cosines)
    return f"{lowest:.6f} | {median:.6f} | {len(removed)} | {only_here} | {only_there}"


if __name__ == "__main__":
    main()
