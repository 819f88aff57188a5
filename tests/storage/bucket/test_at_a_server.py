"""What only a real server can show of creating, of leftovers and of pace."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from object_server import ObjectServer
from s3_client import client_of
from storage.conftest import put
from storage_proxy import storage_proxy

from curator_assets.storage import lease, room
from curator_assets.storage.bucket import leftovers, pace
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.bucket.leftovers import MAX_AGE, abort_old_uploads
from curator_assets.storage.lease import hold_lease
from curator_assets.storage.one_host import lets_two_create
from curator_assets.storage.room import new_probe, remove_leftovers
from curator_assets.storage.store import Store


@pytest.fixture(autouse=True)
def client(object_store: ObjectServer) -> Iterator[None]:
    with client_of(object_store.environment()):
        yield


@pytest.fixture
def store(request) -> Store:
    return Store(f"s3://images/{request.node.name}/out")


def at_once(n: int, what) -> list:
    found, barrier = [], threading.Barrier(n)

    def run(i: int) -> None:
        barrier.wait()
        found.append(what(i))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_of_many_who_create_at_once_one_does_and_is_told_by_the_answer(store, object_store):
    with (
        storage_proxy(object_store.port) as proxy,
        client_of(object_store.environment(endpoint=proxy.endpoint)),
    ):
        other = Store(store.location)
        created = at_once(8, lambda i: (other.create("a[1]*", b"%d" % i), b"%d" % i))
        assert dict(proxy.counts()) == {"PutObject": 8}
    ((_, winner),) = [found for found in created if found[0]]
    assert store.read("a[1]*") == winner
    assert not lets_two_create(store)
    assert store.names("") == ["a[1]*"]


def test_of_many_refreshes_one_holds_the_lease_at_a_time(store, monkeypatch):
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)
    put(store, "n", b"0")
    inside = []

    def refresh(i: int) -> None:
        with hold_lease(Store(store.location), f"{i}"):
            inside.append(i)
            put(store, "n", b"%d" % (int(store.read("n")) + 1))
            assert inside == [i]
            inside.clear()

    at_once(4, refresh)
    assert store.read("n") == b"4"
    assert store.names("lease") == ["lease/4.json"]


def test_old_uploads_below_the_output_are_aborted_and_no_others(store, object_store, monkeypatch):
    client, root = object_store.client(), store.root.partition("/")[2]
    keys = [f"{root}/shards/x[1].tar", f"{root}/b*"]
    others = [f"{root}-other/a", f"{root.rpartition('/')[0]}/tars/a.tar"]
    for key in (*keys, *others):
        client.create_multipart_upload(Bucket="images", Key=key)
    assert abort_old_uploads(store.fs, store.root) == 0
    assert {*keys, *others} <= {*object_store.unfinished_uploads("images")}
    monkeypatch.setattr(leftovers, "MAX_AGE", -timedelta(minutes=1))
    assert abort_old_uploads(store.fs, store.root) == 2
    assert not {*keys} & {*object_store.unfinished_uploads("images")}
    assert {*others} <= {*object_store.unfinished_uploads("images")}


def test_probes_of_killed_processes_are_removed_after_a_day(store, monkeypatch):
    now = room.time.time()
    monkeypatch.setattr("time.time", lambda: now - MAX_AGE.total_seconds() - 1)
    old = new_probe()
    monkeypatch.setattr("time.time", lambda: now - MAX_AGE.total_seconds() + 60)
    young = new_probe()
    monkeypatch.undo()
    for name in (old, young, "lease/3.json"):
        put(store, name, b"x")
    assert remove_leftovers(store) == 1
    assert store.names("lease") == sorted([young, "lease/3.json"])


def test_a_file_of_several_parts_is_whole_though_its_scratch_file_has_no_name(store):
    data = bytes(range(256)) * (5 << 13)
    with store.write("in order") as file:
        file.write(data)
    with store.write("not in order") as file:
        file.write(b"?" * 100)
        file.write(data[100:])
        file.seek(0)
        file.write(data[:100])
    assert store.read("in order") == data
    assert store.read("not in order") == data


def test_the_pace_of_a_bucket_is_measured_and_nothing_stays(store, monkeypatch):
    monkeypatch.setattr(pace, "LARGE_BYTES", 2 << 20)
    found = pace.pace(Bucket(store.fs, store.root), new_probe)
    assert min(vars(found).values()) > 0
    assert store.names("") == []
