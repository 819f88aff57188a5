"""A store that lets two create one object: one host alone refreshes there."""

import logging
import threading

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from storage.conftest import put

from curator_assets.storage import layout, lease, one_host
from curator_assets.storage.holder import decoded, me
from curator_assets.storage.lease import RefreshRunningError, hold_lease
from curator_assets.storage.one_host import OtherHostError, lets_two_create
from curator_assets.storage.store import Store


class Deaf(MemoryFileSystem):
    """Creates an object though there is one, as older servers do."""

    protocol = "deaf"
    store, pseudo_dirs = {}, [""]

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        super().pipe_file(path, value)


class UnknownConditionError(Exception):
    status = 501


class Unknowing(Deaf):
    """Answers that it knows no conditions."""

    protocol = "unknowing"
    store, pseudo_dirs = {}, [""]

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if mode == "create":
            raise UnknownConditionError("A header you provided implies what is not implemented")
        super().pipe_file(path, value)


@pytest.fixture(params=[Deaf, Unknowing], ids=["ignores it", "answers 501"])
def store(request, tmp_path, monkeypatch):
    fsspec.register_implementation(request.param.protocol, request.param, clobber=True)
    for name, seconds in (("POLL_SECONDS", 0.01), ("BEAT_SECONDS", 0.02), ("WAIT_SECONDS", 0)):
        monkeypatch.setattr(lease, name, seconds)
    monkeypatch.setattr(one_host, "SETTLE_SECONDS", 0.01)
    yield Store(f"{request.param.protocol}://{tmp_path.name}/out")
    request.param.store.clear()


def be(host, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: host)
    monkeypatch.setattr("curator_assets.storage.holder._machine", lambda: f"boot of {host}")


def test_it_is_found_out_and_nothing_of_the_try_stays(store, tmp_path):
    assert lets_two_create(store)
    assert store.names("") == []
    for other in (Store("memory://one_host"), Store(str(tmp_path))):
        assert not lets_two_create(other)
        assert other.names("") == []


def test_one_host_refreshes_again_and_again_and_is_told_once_each_time(store, caplog):
    for run in ("first", "second"):
        caplog.clear()
        with hold_lease(store, run):
            put(store, "a", run.encode())
        told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert len(told) == 1
        assert "by one host alone" in told[0]
    assert store.names("lease") == ["lease/2.json"]
    assert store.read("a") == b"second"


@pytest.mark.parametrize("is_over", [True, False], ids=["after it", "meanwhile"])
def test_another_host_is_refused_by_name_until_it_is_handed_over(store, monkeypatch, is_over):
    be("here", monkeypatch)
    first = hold_lease(store, "first")
    first.__enter__()
    if is_over:
        first.__exit__(None, None, None)
    be("there", monkeypatch)
    with pytest.raises(OtherHostError) as refused, hold_lease(store, "second"):
        pass
    be("here", monkeypatch)
    if not is_over:
        first.__exit__(None, None, None)
    text = str(refused.value)
    for part in (store.location, "'here' (run first)", "'there'", "deleting", "conditional put"):
        assert part in text
    for name in store.names("lease"):
        store.remove(name)
    be("there", monkeypatch)
    with hold_lease(store, "second"):
        assert decoded(store.read(layout.lease(1))).host == "there"


def test_a_lease_that_can_not_be_read_is_nobodys_known_host(store):
    put(store, layout.lease(4), b"[")
    with pytest.raises(OtherHostError, match="one that can't be told"), hold_lease(store, "mine"):
        pass


def test_of_two_hosts_that_begin_at_once_the_last_to_write_holds_it(store, monkeypatch):
    created = lease._created_as

    def late(store, token, mine):
        is_mine = created(store, token, mine)
        put(store, layout.lease(token), b"of another host, which looked before that")
        return is_mine

    monkeypatch.setattr(lease, "_created_as", late)
    with pytest.raises(RefreshRunningError, match="unreadable lease"), hold_lease(store, "mine"):
        pass


def test_of_many_at_once_on_one_host_one_holds_it_at_a_time(store, monkeypatch):
    monkeypatch.setattr(lease, "WAIT_SECONDS", 60)
    put(store, "n", b"0")
    at_once = []

    def refresh(run):
        with hold_lease(Store(f"{store.fs.protocol}://{store.root}"), run):
            at_once.append(run)
            put(store, "n", str(int(store.read("n")) + 1).encode())
            assert at_once == [run]
            at_once.clear()

    threads = [threading.Thread(target=refresh, args=(f"{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read("n") == b"4"


def test_where_conditions_are_unknown_creating_looks_first(tmp_path):
    fsspec.register_implementation("unknowing", Unknowing, clobber=True)
    store = Store(f"unknowing://{tmp_path.name}")
    assert store.create("a", b"1")
    assert not store.create("a", b"2")
    assert store.read("a") == b"1"


def test_a_holder_is_of_the_host_that_the_refusal_names(monkeypatch):
    be("here", monkeypatch)
    assert me("run").host == "here"
