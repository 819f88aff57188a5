"""What workers are asked to run in tests: images, and those that do away with their process.

An image is its name here; what it does stands before the first dash. A partition is the names of
its images, with a comma between them.
"""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from unittest.mock import patch

from curator_assets.defs.embed import single_images
from curator_assets.defs.embed.arithmetic import _choose
from curator_assets.defs.embed.embedded_tables import embedded
from curator_assets.defs.embed.single_images import touched
from curator_assets.engine.stage import Advanced, Made

MARK = b"trap: "
"""After it a file that is an image else says what it does."""


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(b"x" * (32 << 20))
        time.sleep(0.01)


DEEDS = {
    "crash": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(1000),
    "eat": _eat,
    "exit": lambda: os._exit(3),
}


def rows(work, partitions, supervision):
    """Each partition with what became of its images."""
    for partition in partitions:
        found = {}
        for name in partition.split(","):
            found[name] = supervision.blamed.get(name, "row")
            if supervision.may_be_touched(name):
                with supervision.watch([name]):
                    DEEDS.get(name.partition("-")[0], lambda: None)()
            yield Advanced(partition, 1)
        yield Made(partition, {"rows": found, "pid": os.getpid()}, files=())


def trial(work, partitions, supervision):
    for partition in partitions:
        for name in set(partition.split(",")) & supervision.suspects:
            with supervision.watch([name]):
                DEEDS.get(name.partition("-")[0], lambda: None)()
    yield from ()


def rows_in_pairs(work, partitions, supervision):
    """As `rows`, but native code has two images at a time, and says so."""
    for partition in partitions:
        names = partition.split(",")
        for pair in zip(names[::2], names[1::2], strict=True):
            allowed = [name for name in pair if supervision.may_be_touched(name)]
            with supervision.watch(allowed):
                for name in allowed:
                    DEEDS.get(name.partition("-")[0], lambda: None)()
        found = {name: supervision.blamed.get(name, "row") for name in names}
        yield Made(partition, {"rows": found}, files=())


def killed_at_first(work, partitions, supervision, *, folder, times):
    """As `rows`; the process is killed as from outside, so many times, in the midst of an image."""
    for partition in partitions:
        for name in partition.split(","):
            with supervision.watch([name]):
                for i in range(times):
                    with contextlib.suppress(FileExistsError):
                        (Path(folder) / f"killed-{i}").touch(exist_ok=False)
                        os.kill(os.getpid(), signal.SIGKILL)
            yield Advanced(partition, 1)
        yield Made(partition, {"rows": dict.fromkeys(partition.split(","), "row")}, files=())


def dies_in_company(work, partitions, supervision):
    """No image does it alone: `touched` by themselves they are harmless."""
    for partition in partitions:
        with supervision.watch(partition.split(",")):
            if "company" in partition:
                ctypes.string_at(0)
        yield Made(partition, {}, files=())


def dies_at_once(work, partitions, supervision):
    os._exit(3)
    yield


def harmless(work, partitions, supervision):
    yield from ()


def raises(work, partitions, supervision):
    raise KeyError("what the function raised")
    yield


def tells(work, partitions, supervision):
    work.log.warning("a line from %s", "a worker")
    yield os.getpid()


def writes(work, partitions, supervision):
    """Writes a file a partition, slowly."""
    for partition in partitions:
        with work.store.write(f"late/{partition}") as file:
            file.write(b"late")
            yield os.getpid()
            time.sleep(0.2)


def embedded_with_traps(work, shards, supervision, **given):
    with _traps():
        yield from embedded(work, shards, supervision, **given)


def touched_with_traps(work, shards, supervision, *, precision, form):
    few = patch.object(single_images, "_N_TRIALS", 2)  # what does it here does it at once
    with _traps(), few:
        yield from touched(work, shards, supervision, precision=precision, form=form)


def choose_with_traps(work, partitions, supervision, *, shards):
    from curator_assets.kernels import precision

    # or each process in which it is tried would write the model down in every form
    alone = patch.multiple(precision, candidates=lambda _: [], rewritten_form=lambda *_: None)
    with _traps(), alone:
        yield from _choose(work, partitions, supervision, shards=shards)


@contextlib.contextmanager
def _traps():
    """While it lasts, a file that holds the mark does what stands after it when it is opened."""
    from curator_assets.kernels import decode

    opened = decode._open_stream

    def open_stream(data, image_format, max_pixels):
        if MARK in data:
            DEEDS[data.split(MARK)[1].split(b";")[0].decode()]()
        return opened(data, image_format, max_pixels)

    decode._open_stream = open_stream
    try:
        yield
    finally:
        decode._open_stream = opened
