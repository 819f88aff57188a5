"""Time of the ticks of the sensor over many tars, against the minute that Dagster gives a tick.

python benchmarks/sensor.py               # 100,000 tars
python benchmarks/sensor.py --tars 10000
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import dagster as dg
from refresh import EMPTY_TAR, peak_mib, write_links

from curator_assets.defs.source.tar_sensor import build_tar_sensor
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.job import refresh_job
from curator_assets.settings import Settings

TICK_SECONDS = 60


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tars", type=int, default=100_000)
    n_tars = parser.parse_args().tars
    with tempfile.TemporaryDirectory(prefix="sensor-") as name:
        folder = Path(name)
        write_links(
            folder / "tars", (f"{k // 1000:03d}/{k:06d}.tar" for k in range(n_tars)), EMPTY_TAR
        )
        print(f"| tick over {n_tars:,} tars | seconds | of {TICK_SECONDS} | requested |")
        print("|---|---|---|---|")
        for what, requested, seconds in ticks(folder):
            print(
                f"| {what} | {seconds:.2f} | {seconds / TICK_SECONDS:.0%} | {requested} |",
                flush=True,
            )
    print(f"\npeak {peak_mib():.0f} MiB")


def ticks(folder: Path) -> Iterator[tuple[str, str, float]]:
    """What each tick is about, what it requested, and how long it took."""
    settings = Settings(source=str(folder / "tars"), output=str(folder / "curated"))
    sensor = build_tar_sensor(settings, refresh_job(GRAPH, settings))
    with dg.DagsterInstance.ephemeral() as instance:
        cursor: str | None = None

        def tick(what: str) -> tuple[str, str, float]:
            nonlocal cursor
            context = dg.build_sensor_context(instance=instance, cursor=cursor)
            started = time.perf_counter()
            found = sensor(context)
            seconds = time.perf_counter() - started
            cursor = context.cursor
            if not isinstance(found, dg.RunRequest):
                return what, "-", seconds
            return what, f"{found.tags['curator/tars_ready']} tars", seconds

        yield tick("all seen for the first time")
        for k in count(1):
            done = tick(f"all looked at, part {k}")
            yield done
            if done[1] == "-":
                break
        yield tick("nothing new")
        with tarfile.open(folder / "tars" / "new.tar", "w"):
            pass
        yield tick("one new, seen for the first time")
        yield tick("one new and whole")


if __name__ == "__main__":
    main()
