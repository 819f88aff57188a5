"""The demo's samples in a bucket: the same results as in folders, whatever happens on the way."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.host import Ended, Host, kill
from object_server import ObjectServer, object_server
from storage_proxy import StorageProxy, storage_proxy
from storage_requests import INTERNAL, Request

from curator_assets.demo.samples import make_shards

BUCKET = "images"
ARITHMETIC = "ledger/encoder_precision"
BOOKKEEPING = {
    "lease": "who worked there",
    "ledger": "names hold the number of a taking of the lease, entries how the tars' places look",
    "source.txt": "the place of the source, as a path from the output where there is one",
}
"""What tells of the place and of who worked there, and so differs -> why."""

STAGE_WRITES = {
    "image_embeddings": "embeddings/",
    "filter_scores": "scores/",
    "cluster_centroids": "clusters/centroids",
    "cluster_assignments": "clusters/assignments",
    "near_duplicate_pairs": "duplicates/pairs",
    "duplicate_groups": "duplicates/groups",
    "duplicate_ids": "duplicates/ids",
    "deduplicated_shards": "shards/",
    "curation_report": "report/",
}
"""Stage -> how the names of what it writes begin."""

pytestmark = pytest.mark.timeout(1800)


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
            made[name] = untimed(data) if top == "metadata" else data
    return made


def untimed(metadata: bytes) -> bytes:
    """What an asset tells of itself, but for how long something took."""
    told = json.loads(metadata)
    for name in list(told["values"]):
        if name.endswith(("_seconds", "_per_second")):
            told["values"][name] = "by the clock"
    return json.dumps(told).encode()


def assert_made(ended: Ended) -> None:
    assert ended.status == 0, ended.told


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    make_shards(folder / "tars", n_samples=30, seed=0)
    tars, output = folder / "tars", folder / "curated"
    assert_made(Host(folder / "host", str(tars), str(output)).run("refresh"))
    paths = [path for path in output.rglob("*") if path.is_file()]
    found = {str(path.relative_to(output)): path.read_bytes() for path in paths}
    return Undisturbed(tars, results(found, str(tars), str(output)), output / ARITHMETIC)


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

    def assert_whole(self, undisturbed: Undisturbed) -> None:
        """The results are those of the undisturbed project, and nothing half made is left."""
        contents = self.server.contents(BUCKET, f"{self.name}/curated/")
        found = results(contents, f"{self.url}/tars", f"{self.url}/curated")
        assert sorted(found.keys() ^ undisturbed.results.keys()) == []
        for name, data in found.items():
            assert data == undisturbed.results[name], name
        assert self.server.unfinished_uploads(BUCKET) == []

    def wait_for(self, prefix: str, process: subprocess.Popen[bytes]) -> None:
        """Return once something was made whose name begins so."""
        while not any(name.startswith(prefix) for name in self.names()):
            assert process.poll() is None, f"it ended before {prefix} appeared"
            time.sleep(0.2)


@pytest.fixture
def place(object_store: ObjectServer, undisturbed: Undisturbed, request) -> Place:
    return filled(object_store, undisturbed, request.node.name)


def filled(server: ObjectServer, undisturbed: Undisturbed, name: str) -> Place:
    server.copy_in(undisturbed.tars, BUCKET, f"{name}/tars")
    server.copy_in(undisturbed.arithmetic, BUCKET, f"{name}/curated/{ARITHMETIC}")
    return Place(server, name)


@pytest.fixture
def own_server(tmp_path: Path, undisturbed: Undisturbed) -> Iterator[Place]:
    """A place on a server that no other test needs, to be stopped."""
    with object_server(tmp_path / "server") as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield filled(server, undisturbed, "place")


def test_it_makes_in_a_bucket_what_it_makes_in_folders(place, undisturbed, tmp_path):
    host = place.host(tmp_path / "host")
    assert_made(host.run("refresh"))
    place.assert_whole(undisturbed)
    again = host.run("refresh")
    assert_made(again)
    assert "nothing to make" in again.told


def test_killed_in_each_stage_it_goes_on_where_it_was(place, undisturbed, tmp_path):
    """Killed while what a stage has made is on its way; it does not arrive, or does, in turns."""
    with storage_proxy(place.server.port) as proxy:
        host = place.host(tmp_path / "host", proxy)
        for i, (stage, begins) in enumerate(STAGE_WRITES.items()):
            with host.running("refresh") as process:
                prefix = f"{place.name}/curated/{begins}"
                with proxy.failing(INTERNAL, killing(process, prefix, arrives=i % 2 == 1)):
                    ended = host.ended(process)
            assert ended.status == -9, f"{stage} wrote nothing, or was not killed: {ended.told}"
        assert_made(host.run("refresh"))
    place.assert_whole(undisturbed)


def killing(
    process: subprocess.Popen[bytes], prefix: str, *, arrives: bool
) -> Callable[[Request], bool]:
    """A condition that kills as soon as something is put under a name that begins so."""

    def is_lost(request: Request) -> bool:
        is_put = request.kind in {"PutObject", "UploadPart", "CompleteMultipartUpload"}
        if not (is_put and request.key.startswith(prefix)):
            return False
        if process.poll() is None:
            kill(process)
        return not arrives

    return is_lost


def test_a_server_that_is_away_for_20_seconds_costs_no_more(own_server, undisturbed, tmp_path):
    host = own_server.host(tmp_path / "host")
    with host.running("refresh") as process:
        own_server.wait_for("embeddings/", process)
        own_server.server.stop()
        time.sleep(20)
        own_server.server.start()
        assert_made(host.ended(process))
    own_server.assert_whole(undisturbed)


def test_a_server_that_is_away_for_good_is_named_and_can_come_back(
    own_server, undisturbed, tmp_path
):
    host = own_server.host(tmp_path / "host")
    with host.running("refresh") as process:
        own_server.wait_for("embeddings/", process)
        own_server.server.stop()
        ended = host.ended(process)
    assert ended.status not in (0, 70), ended.told
    assert "Traceback" not in ended.told
    assert "s3://images/place/" in ended.told
    own_server.server.start()
    assert_made(host.run("refresh"))
    own_server.assert_whole(undisturbed)


def test_two_hosts_at_once_do_the_work_once(place, undisturbed, tmp_path):
    hosts = [place.host(tmp_path / name) for name in ("one", "two")]
    with hosts[0].running("refresh") as one, hosts[1].running("refresh") as two:
        ended = [host.ended(process) for host, process in zip(hosts, (one, two), strict=True)]
    refused = [end for end in ended if end.status != 0]
    assert len(refused) < 2, [end.told for end in ended]
    for end in refused:
        assert "is running: run" in end.told
    place.assert_whole(undisturbed)
    entries = [n for n in place.names() if n.startswith("ledger/") and n.endswith(".entry")]
    takings = {n.split(".")[-2] for n in entries if not n.startswith(ARITHMETIC)}
    assert len(takings) == 1, "both have made something"
