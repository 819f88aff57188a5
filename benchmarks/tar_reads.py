"""How often a full run reads each tar, by stage."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml
from benchmark_models import OFFLINE, model_settings
from counted_command import counts, curate


def report(n_samples: int) -> None:
    """Refresh a demo project twice and print how many times the size of its tars was read."""
    from curator_assets.demo.samples import make_shards

    with tempfile.TemporaryDirectory(prefix="reads-") as folder:
        project = Path(folder).resolve()
        make_shards(project / "tars", n_samples=n_samples, seed=0)
        model = model_settings(OFFLINE, project) | {"precision": "float32"}
        settings = {"source": "tars", "output": "out", "model": model}
        settings["clusters"] = {"n_cell_groups": 2}
        (project / "curator.yaml").write_text(yaml.safe_dump(settings))
        for title in ("from nothing", "again, nothing changed"):
            print(f"{title}:")
            for line in _lines(project, _refreshed(project)):
                print(f"  {line}")


def _refreshed(project: Path) -> Counter[tuple[str, str]]:
    """Path and stage -> bytes that were read."""
    curate(project, "refresh", with_reads=True)
    found = Counter[tuple[str, str]]()
    for line in counts(project):
        if "read" in line:
            found[line["read"], line["stage"]] += line["n_bytes"]
    return found


def _lines(project: Path, found: Counter[tuple[str, str]]) -> Iterator[str]:
    """A line a tar, those of the source first."""
    of_tars = {key for key in found if key[0].endswith(".tar")}
    if not of_tars:
        yield "no tar was read"
    for path in sorted({path for path, _ in of_tars}, key=lambda p: ("/out/" in p, p)):
        size = Path(path).stat().st_size
        parts = {stage: n / size for (name, stage), n in found.items() if name == path}
        told = ", ".join(f"{stage} {times:.2f}" for stage, times in parts.items())
        name = str(Path(path).relative_to(project))
        yield f"{name:28}{size:10,} bytes, read {sum(parts.values()):.2f} times: {told}"
