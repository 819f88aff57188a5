"""The demo's samples in a bucket, and what an undisturbed project makes of them in folders."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.host import Ended, Host
from object_server import ObjectServer
from storage_proxy import StorageProxy

BUCKET = "images"
ARITHMETIC = "ledger/encoder_precision"
BOOKKEEPING = {
    "lease": "who worked there",
    "ledger": "names hold the number of a taking of the lease, entries how the tars' places look",
    "source.txt": "the place of the source, as a path from the output where there is one",
}
"""What tells of the place and of who worked there, and so differs -> why."""

HOW_IT_CAME_ABOUT = {"n_reused", "n_decoded", "n_encoded", "n_computed", "tar_rewritten"}
"""What an asset tells of how its partitions came to be what they are."""


@dataclass
class Undisturbed:
    """A project that was made in folders, in one go.

    Attributes:
        tars: the source.
        results: name -> bytes of what lies below the output, to be compared.
        arithmetic: the folder of what a clock chose: the form in which this machine's CPU is fast.
    """

    tars: Path
    results: Mapping[str, bytes]
    arithmetic: Path


def results(found: Mapping[str, bytes], tars: str, output: str) -> dict[str, bytes]:
    """What was made, but for the bookkeeping, with places named alike and no clock's figures."""
    made = {}
    for name, data in found.items():
        top = name.split("/")[0]
        if top not in BOOKKEEPING:
            data = data.replace(output.encode(), b"OUTPUT").replace(tars.encode(), b"TARS")
            made[name] = without(data, is_by_the_clock) if top == "metadata" else data
    return made


def is_by_the_clock(name: str) -> bool:
    return name.endswith(("_seconds", "_per_second"))


def without(metadata: bytes, is_left_out: Callable[[str], bool]) -> bytes:
    """What an asset tells of itself, but for some of it."""
    told = json.loads(metadata)
    told["values"] |= dict.fromkeys(filter(is_left_out, told["values"]), "left out")
    return json.dumps(told).encode()


def assert_made(ended: Ended) -> None:
    assert ended.status == 0, ended.told


@dataclass
class Place:
    """A folder of the bucket with the demo's tars, for one test.

    Attributes:
        server: holds it.
        name: of the folder.
    """

    server: ObjectServer
    name: str

    def host(self, folder: Path, proxy: StorageProxy | None = None) -> Host:
        """A machine that works on it."""
        environment = self.server.environment(endpoint=proxy.endpoint if proxy else None)
        return Host(folder, f"{self.url}/tars", f"{self.url}/curated", environment)

    @property
    def url(self) -> str:
        """Of the folder."""
        return f"s3://{BUCKET}/{self.name}"

    def names(self) -> list[str]:
        """What was made."""
        return self.server.keys(BUCKET, f"{self.name}/curated/")

    def assert_whole(
        self, undisturbed: Undisturbed, *, in_one_go: bool = False, by_one: bool = True
    ) -> None:
        """The results are those of the undisturbed project, and nothing half made is left.

        Args:
            undisturbed: that project.
            in_one_go: one refresh embedded everything; else the index of contents, which holds
                nothing that the tables do not, may be cut otherwise.
            by_one: one machine did; else, as after several goes, an image that lies in two shards
                may have been computed twice.
        """
        contents = self.server.contents(BUCKET, f"{self.name}/curated/")
        found = results(contents, f"{self.url}/tars", f"{self.url}/curated")
        wanted = dict(undisturbed.results)
        if not in_one_go:
            found, wanted = (
                {name: data for name, data in some.items() if not name.startswith("index/")}
                for some in (found, wanted)
            )
        is_left_out = set().__contains__ if in_one_go and by_one else HOW_IT_CAME_ABOUT.__contains__
        assert sorted(found.keys() ^ wanted.keys()) == []
        for name, data in found.items():
            expected = wanted[name]
            if name.startswith("metadata/"):
                data, expected = without(data, is_left_out), without(expected, is_left_out)
            assert data == expected, name
        assert self.server.unfinished_uploads(BUCKET) == []

    def wait_for(self, prefix: str, process: subprocess.Popen[bytes]) -> None:
        """Return once something was made whose name begins so."""
        while not any(name.startswith(prefix) for name in self.names()):
            assert process.poll() is None, f"it ended before {prefix} appeared"
            time.sleep(0.2)


def filled(server: ObjectServer, undisturbed: Undisturbed, name: str) -> Place:
    server.copy_in(undisturbed.tars, BUCKET, f"{name}/tars")
    server.copy_in(undisturbed.arithmetic, BUCKET, f"{name}/curated/{ARITHMETIC}")
    return Place(server, name)
