"""What actors are asked to do in tests: a partition says what becomes of whoever makes it."""

import os
import signal
import time
from pathlib import Path

from ray.util import get_node_ip_address

from curator_assets.engine.allotment import n_cores
from curator_assets.engine.stage import Advanced, Failed, Made
from curator_assets.engine.workers.process import given


def makes(work, partitions, *, folder):
    """Make partitions `<name>` or `<name> <deed>`, each noted in a folder as it is begun."""

    def made():
        for partition in partitions:
            n_begun = _note(Path(folder) / partition.replace(" ", "-"))
            yield Advanced(partition, 1)
            match partition.split():
                case [_, "kills"]:
                    os.kill(os.getpid(), signal.SIGKILL)
                case [_, "kills-once"] if n_begun == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                case [_, "fails"]:
                    yield Failed(partition, "as it was told to")
                    continue
                case [_, "sleeps"]:
                    time.sleep(0.5)
            made_by = {"pid": os.getpid(), "n_cores": n_cores(), "machine": get_node_ip_address()}
            yield Made(partition, made_by, files=())

    work.log.warning("a line from %s", "an actor")
    yield from given(made(), work)


def _note(path):
    """How often something was begun."""
    with path.open("a") as file:
        file.write("begun\n")
    return len(path.read_text().splitlines())


def tells(work, partitions):
    yield work.settings.source


def dies(work, partitions):
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def raises(work, partitions):
    yield "something"
    raise KeyError("what the job raised")
