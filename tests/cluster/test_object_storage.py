"""The demo's samples in a bucket: the same results as in folders, whatever happens on the way."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster.host import kill
from cluster.places import ARITHMETIC, BUCKET, Place, Undisturbed, assert_made, filled
from object_server import object_server
from storage_proxy import storage_proxy
from storage_requests import INTERNAL, Request

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


@pytest.fixture
def own_server(tmp_path: Path, undisturbed: Undisturbed) -> Iterator[Place]:
    """A place on a server that no other test needs, to be stopped."""
    with object_server(tmp_path / "server") as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield filled(server, undisturbed, "place")


def test_it_makes_in_a_bucket_what_it_makes_in_folders(place, undisturbed, tmp_path):
    host = place.host(tmp_path / "host")
    assert_made(host.run("refresh"))
    place.assert_whole(undisturbed, in_one_go=True)
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


def test_ctrl_c_while_the_server_is_away_is_not_kept_waiting(own_server, undisturbed, tmp_path):
    host = own_server.host(tmp_path / "host")
    with host.running("refresh") as process:
        own_server.wait_for("embeddings/", process)
        own_server.server.stop()
        time.sleep(2)  # by then it waits
        process.send_signal(signal.SIGINT)
        ended = host.ended(process)
    assert ended.status == 130, ended.told
    assert "it is tried again for" in ended.told
    assert "nothing has succeeded" not in ended.told
    assert "Traceback" not in ended.told
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
