"""What a refresh costs after each kind of change, against the first run.

    python benchmarks/incremental.py --photos /data/photos            # about 15 minutes
    python benchmarks/incremental.py --photos /data/photos --images 500
    python benchmarks/incremental.py --photos /data/photos --plans plans.txt
    python benchmarks/incremental.py --photos /data/photos --model ViT-B-32

Tars of real photographs, each in many small edits of different bytes, are refreshed by the command,
as a user would; then one change after the other, each with a refresh of its own. Images are
counted where kernels get them (`counted/sitecustomize.py`), in the workers too, and held against
the metadata of `image_embeddings`. CPU-seconds are of the command and of all its processes; their
shares are of the first run's, and what stages took is told by the same means. `--plans` keeps what
`curate plan` foretold of each refresh, and under it what the refresh did.

ViT-B-32 has random weights, under which other photographs look alike too: of 40 flowers a tenth of
the pairs came within cosine .95. Its figures tell of embedding, not of pairs and groups.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from benchmark_models import OFFLINE, model_settings
from changed_project import EMBED, Project, Sample, edits

SHARD_SAMPLES = 500
MAX_DROP, MAX_ALL = 0.011, 0.08
GROUPS = {
    "embed": (EMBED,),
    "score": ("filter_scores",),
    "cluster": ("centroids", "cluster_assignments"),
    "pairs": ("near_duplicate_pairs",),
    "groups": ("duplicate_groups", "duplicate_ids"),
    "tars": ("deduplicated_shards",),
    "report": ("curation_report",),
}
"""Columns of the table, and the stages in them."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--images", type=int, default=5000, help="of the first run")
    parser.add_argument("--model", default=OFFLINE, choices=(OFFLINE, "ViT-B-32"))
    parser.add_argument("--plans", type=Path, help="write what each refresh is foretold and does")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="incremental-") as folder:
        model = model_settings(arguments.model, Path(folder)) | {"precision": "float32"}
        project = Project(Path(folder), edits(arguments.photos), model)
        if arguments.plans:
            arguments.plans.write_text("")
        found = [
            measured(project, *change, arguments.plans)
            for change in changes(project, arguments.images)
        ]
    report(found, arguments.images)
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(one) for one in found], indent=2))


@dataclass
class Measured:
    """A change and its refresh.

    Attributes:
        most: images that may be encoded for it.
        is_yardstick: what it costs is not summed with the others.
        images: counted in the kernels, and `reused` from the metadata.
        cpu_seconds: of all processes.
        stages: CPU-seconds by stage.
    """

    change: str
    most: int
    is_yardstick: bool
    images: Counter[str]
    cpu_seconds: float
    wall_seconds: float
    stages: Counter[str]


def changes(project: Project, n: int) -> Iterator[tuple[str, int, bool]]:
    """Change the tars, step by step: what was done, images that may be encoded, a yardstick?"""
    hundredth, drop = n // 100, int(MAX_DROP * n)
    put = project.put
    images = project.new(n)
    starts = range(0, n, SHARD_SAMPLES)
    put({f"{i:05d}": images[start : start + SHARD_SAMPLES] for i, start in enumerate(starts)})
    yield "first run", n, True
    yield "nothing", 0, True
    put(project.tars | {"one": project.new(1)})
    yield "one new image", 1, True

    tar = project.tars["00000"]
    n_changed = -(-len(tar) // 100)
    put(project.tars | {"00000": [*project.new(n_changed), *tar[n_changed:]]})
    yield "1 % of a tar changed", n_changed, False
    (key, image, _), *others = project.tars["00000"]
    put(project.tars | {"00000": [(key, image, "another caption"), *others]})
    yield "one caption changed", 0, False
    put({f"renamed-{name}": samples for name, samples in project.tars.items()})
    yield "all tars renamed", 0, False
    halves = dict[str, list[Sample]]()
    for name, samples in project.tars.items():
        middle = (len(samples) + 1) // 2
        halves |= {f"{name}-a": samples[:middle], f"{name}-b": samples[middle:]}
    put({name: samples for name, samples in halves.items() if samples})
    yield "all re-sharded into twice as many", 0, False
    yield from _removed_and_returned(project, "1 % of samples", _without_a_hundredth, 0)
    yield from _removed_and_returned(project, "a whole tar", _without_first, 0)
    put(project.tars | {"dropped": project.new(hundredth)})
    yield "1 % of new images dropped", drop, False
    yield "nothing, again", 0, True

    project.curate("trash", "--empty", "--yes")
    without = "without trash: 1 % of samples"
    for change, _, _ in _removed_and_returned(project, without, _without_a_hundredth, drop):
        yield change, drop, True


def _removed_and_returned(
    project: Project,
    what: str,
    without: Callable[[dict[str, list[Sample]]], dict[str, list[Sample]]],
    most: int,
) -> Iterator[tuple[str, int, bool]]:
    before = project.tars
    project.put(without(before))
    yield f"{what} removed", 0, False
    project.put(before)
    yield f"{what} returned", most, False


def _without_a_hundredth(tars: dict[str, list[Sample]]) -> dict[str, list[Sample]]:
    numbers = count(1)
    left = {name: [s for s in tars[name] if next(numbers) % 100] for name in tars}
    return {name: samples for name, samples in left.items() if samples}


def _without_first(tars: dict[str, list[Sample]]) -> dict[str, list[Sample]]:
    return dict(islice(tars.items(), 1, None))


def measured(
    project: Project, change: str, most: int, is_yardstick: bool, plans: Path | None
) -> Measured:
    """Refresh after a change; what is counted must be what is reported.

    Args:
        project: to refresh.
        change: what was done to it.
        most: images that may be encoded.
        is_yardstick: what it costs is not summed with the others.
        plans: where to add what `curate plan` says before, and what the refresh did.
    """
    if plans:
        _add(plans, f"=== {change}", *foretold(project))
        project.counted()
    began, started, before = time.time(), time.perf_counter(), _cpu_of_children()
    project.curate("refresh", "--allow-removals")
    cpu_seconds, seconds = _cpu_of_children() - before, time.perf_counter() - started
    images, stages = project.counted()
    reported = project.reported(began)
    for name in ("decoded", "encoded", "computed"):
        if images[name] != reported[name]:
            print(f"{change}: {images[name]} {name}, but {reported[name]} reported", flush=True)
    images["reused"] = reported["reused"]
    found = Measured(change, most, is_yardstick, images, cpu_seconds, seconds, stages)
    print(f"{change}: {cpu_seconds:.1f} CPU-s, {dict(images)}", file=sys.stderr, flush=True)
    if plans:
        # of the shards alone, as a plan: trials of the encoder's form are counted in `images` too
        done = f"encoded {reported['encoded']:,}, reused {reported['reused']:,} images, "
        _add(plans, "--- the refresh", f"{done}{seconds:.1f} s on the wall, its start included\n")
    return found


def foretold(project: Project) -> Iterator[str]:
    """What `curate plan` says of the next refresh: from what is stored, and by counting."""
    for words in (["plan"], ["plan", "--exact"]):
        yield f"--- curate {' '.join(words)}"
        yield project.curate(*words)


def _add(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def _cpu_of_children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def report(found: list[Measured], n_images: int) -> None:
    """Print the table; its last row is what all changes cost together."""
    total, cores = found[0].cpu_seconds, len(os.sched_getaffinity(0))
    (one,) = [this for this in found if this.change == "one new image"]
    print(f"\n{n_images:,} images; {cores} cores; shares are of the first run's CPU-seconds\n")
    heads = ["change", "decoded", "encoded", "at most", "computed", "reused", "wall s", "CPU s"]
    heads += ["beside one image's", "share", *GROUPS, "the rest"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for this in found:
        cells = [f"{this.images[name]:,}" for name in ("decoded", "encoded", "computed", "reused")]
        cells.insert(2, f"{this.most:,}" + " **missed**" * (this.images["encoded"] > this.most))
        cells += [f"{this.wall_seconds:.1f}", f"{this.cpu_seconds:.1f}"]
        beside = this.cpu_seconds - one.cpu_seconds
        cells.append("" if this.is_yardstick else f"{beside / total:+.1%}")
        cells += [f"{seconds / total:.1%}" for seconds in _by_column(this)]
        print(f"| {this.change} | " + " | ".join(cells) + " |")
    changes = [_by_column(this) for this in found if not this.is_yardstick]
    beside_one = [
        sum(max(seconds - yardstick, 0) for seconds in column)
        for *column, yardstick in zip(*changes, _by_column(one), strict=True)
    ]
    cells = [f"{seconds / total:.1%}" for seconds in beside_one]
    cells[0] += f" (at most {MAX_ALL:.0%})"
    what = f"all {len(changes)} changes, each beside one image's where it is more"
    print(f"| {what} |" + " |" * 8 + " " + " | ".join(cells) + " |")


def _by_column(this: Measured) -> list[float]:
    """CPU-seconds in all, in each group of stages, and in none."""
    groups = [sum(this.stages[name] for name in names) for names in GROUPS.values()]
    return [this.cpu_seconds, *groups, this.cpu_seconds - sum(groups)]


if __name__ == "__main__":
    main()
