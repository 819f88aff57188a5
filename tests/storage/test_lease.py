import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from storage.conftest import put

from curator_assets.storage import layout, lease
from curator_assets.storage.bucket import outage
from curator_assets.storage.holder import decoded, encoded, me
from curator_assets.storage.lease import (
    Held,
    LeaseLostError,
    LeaseWatch,
    RefreshRunningError,
    hold_lease,
)
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.store import Store


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.02)


def elsewhere(run="theirs", **changes):
    """A holder on another machine."""
    return replace(me(run), host="other-host", machine="another boot", **changes)


def holder(store):
    names = [name for name in store.names("lease") if not name.endswith(".partial")]
    assert len(names) == 1
    return names[0], decoded(store.read(names[0]))


def test_the_token_grows_with_each_holder_and_one_file_is_left(store):
    for token in (1, 2, 3):
        with hold_lease(store, f"run-{token}"):
            name, mine = holder(store)
            assert (name, mine.run, mine.released) == (f"lease/{token}.json", f"run-{token}", False)
        assert holder(store)[1].released


def test_a_lease_that_was_deleted_goes_on_above_the_entries(store):
    for _ in range(3):
        with hold_lease(store, "a"):
            Ledger(store).write("asset", "p.7", Entry("f", "v"))
    store.remove("lease/3.json")
    with hold_lease(store, "b"):
        assert holder(store)[0] == "lease/4.json"
        Ledger(store).write("asset", "p.7", Entry("f", "new"))
    assert Ledger(store).read("asset", "p.7").data_version == "new"


def test_a_holder_writes_its_file_again_and_again(store):
    with hold_lease(store, "a"):
        while holder(store)[1].beat < 2:
            time.sleep(0.005)


def test_a_second_one_is_refused_by_name(store, monkeypatch):
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0.05)
    with hold_lease(store, "the-first"):
        mine = holder(store)[1]
        with pytest.raises(RefreshRunningError) as refused, hold_lease(store, "second"):
            pass
        expected = f"run the-first, process {mine.pid} on {mine.host}, since {mine.since}; wait"
        assert expected in str(refused.value)
        assert holder(store)[1].run == "the-first"
    with hold_lease(store, "second"):
        pass


def test_of_many_at_once_one_holds_it_at_a_time(store):
    put(store, "n", b"0")
    at_once, ended = [], []

    def refresh(run):
        with hold_lease(Store(store.location), run):
            at_once.append(run)
            n = int(store.read("n"))
            time.sleep(0.005)
            put(store, "n", str(n + 1).encode())
            assert at_once == [run]
            at_once.clear()
            ended.append(run)

    threads = [threading.Thread(target=refresh, args=(f"{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 8
    assert store.read("n") == b"8"


def test_one_that_has_let_go_but_not_left_holds_up_no_thread(store, monkeypatch):
    let_go, write = threading.Event(), lease._write

    def slow(held, mine, what):
        written = write(held, mine, what)
        if held.run == "slow" and mine.released:
            let_go.set()
            taken.wait(5)
        return written

    def leave_slowly():
        with hold_lease(Store(store.location), "slow"):
            pass

    taken, thread = threading.Event(), threading.Thread(target=leave_slowly)
    monkeypatch.setattr(lease, "_write", slow)
    thread.start()
    assert let_go.wait(5)
    with hold_lease(store, "next"):
        taken.set()
        thread.join()
        put(store, "n", b"0")
    assert holder(store)[1].run == "next"


def test_who_waits_says_so_once_and_for_whom(store, caplog, monkeypatch):
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.1)
    put(store, layout.lease(9), encoded(elsewhere()))
    with caplog.at_level(logging.INFO), hold_lease(store, "mine"):
        pass
    told = [record for record in caplog.messages if "waiting" in record]
    assert len(told) == 1
    assert "run theirs" in told[0]
    assert "on other-host" in told[0]


def test_another_hosts_holder_is_taken_over_from_only_when_it_no_longer_beats(store, monkeypatch):
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.2)
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0.5)
    ended = threading.Event()

    def beat():
        n = 0
        while not ended.wait(0.01):
            n += 1
            put(store, layout.lease(4), encoded(elsewhere(beat=n)))

    put(store, layout.lease(4), encoded(elsewhere()))
    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(RefreshRunningError, match="on other-host"), hold_lease(store, "mine"):
            pass
    finally:
        ended.set()
        beating.join()
    with hold_lease(store, "mine"):
        assert holder(store)[0] == "lease/5.json"


def test_a_holder_that_let_go_delays_nobody_wherever_it_was(store, monkeypatch):
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0)
    put(store, layout.lease(4), encoded(elsewhere(released=True)))
    with hold_lease(store, "mine"):
        pass


@pytest.mark.parametrize(
    "data", [b"", b"[", b"{}", b"\xff", b"[" * 100_000, b"null", json.dumps({"run": 1}).encode()]
)
def test_a_lease_that_can_not_be_read_holds_until_it_expires(store, monkeypatch, data):
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0)
    put(store, layout.lease(4), data)
    with pytest.raises(RefreshRunningError, match="unreadable lease"), hold_lease(store, "mine"):
        pass
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0)
    with hold_lease(store, "mine"):
        assert holder(store)[0] == "lease/5.json"


def test_a_field_of_another_type_is_damage():
    assert decoded(encoded(me("a"))) is not None
    for name, value in [("pid", "1"), ("pid", True), ("run", None), ("released", 0)]:
        assert decoded(json.dumps(vars(me("a")) | {name: value}).encode()) is None


def test_what_is_no_lease_is_left_alone(store):
    for name in ("lease/x.json", "lease/01.json", "lease/9.txt", "lease/0.json", "lease/a/9.json"):
        put(store, name, b"")
    with hold_lease(store, "mine"):
        assert "lease/1.json" in store.names("lease")


CHANGES = {
    "write": lambda store: put(store, "a", b"late"),
    "write anew": lambda store: put(store, "folder/b", b"late"),
    "create": lambda store: store.create("c", b"late"),
    "remove": lambda store: store.remove("a"),
    "move": lambda store: store.move("a", "b"),
    "record": lambda store: Ledger(store).write("asset", "a", Entry("f", "late")),
    "forget": lambda store: Ledger(store).remove("asset", "a"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_once_taken_over_from_nothing_is_put_in_place(store, change):
    put(store, "a", b"good")
    Ledger(store).write("asset", "a", Entry("f", "good"))
    expected = "run mine was taken over from: .*run theirs.* on other-host"
    with pytest.raises(LeaseLostError, match=expected), hold_lease(store, "mine"):
        # as another machine does, of whose guard this process knows nothing
        store.fs.pipe_file(store.path("lease/7.json"), encoded(elsewhere()))
        before = store.names("")
        with pytest.raises(LeaseLostError):
            change(Store(store.location))
        assert [name for name in store.names("") if "partial" not in name] == before
    assert store.read("a") == b"good"
    assert Ledger(store).read("asset", "a").data_version == "good"
    assert not decoded(store.read("lease/7.json")).released


def test_a_run_that_was_taken_over_from_unnoticed_is_told_at_its_end(store):
    with pytest.raises(LeaseLostError), hold_lease(store, "mine"):
        store.fs.pipe_file(store.path("lease/7.json"), encoded(elsewhere()))


def test_one_that_slept_between_looking_and_creating_does_not_hold_it(store, monkeypatch):
    """Its number was taken, and that holder's file is gone already."""
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0)
    put(store, layout.lease(1), encoded(elsewhere(released=True)))
    create = Store.create

    def slow(self, name, data):
        monkeypatch.undo()
        monkeypatch.setattr(lease, "WAIT_SECONDS", 0)
        store.remove("lease/1.json")
        put(store, "lease/3.json", encoded(elsewhere()))
        return create(self, name, data)

    monkeypatch.setattr(Store, "create", slow)
    with pytest.raises(RefreshRunningError), hold_lease(store, "mine"):
        pass
    assert store.names("lease") == ["lease/3.json"]


def test_a_links_store_is_guarded_as_the_place_it_means(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with hold_lease(Store(str(tmp_path / "there")), "mine"):
        for location in ("link", "there/", "link/../there"):
            assert Store(f"{tmp_path}/{location}").guard.run == "mine"
            assert Store(f"file://{tmp_path}/{location}").guard.run == "mine"
        assert Store(str(tmp_path / "there/trash")).guard.run == "mine"
        for location in ("elsewhere", "there2", ""):
            assert Store(f"{tmp_path}/{location}").guard is None


class Holding(Held):
    """One that is not taken over from."""

    def require(self):
        pass


class Late(Held):
    """One that looked just before it was taken over from."""

    has_looked = False

    def require(self):
        if self.has_looked:
            raise LeaseLostError
        self.has_looked = True


def test_a_late_entry_of_an_older_holder_replaces_nothing_newer(store):
    late = Ledger(store)
    assert (late.read_all("asset"), late.read("asset")) == ({}, None)
    with store.guarded(Holding(store, 5, "")):
        for partition in ("a.3", None):
            Ledger(store).write("asset", partition, Entry("f", "new"))
    for partition in ("a.3", None):
        with store.guarded(Late(store, 3, "")):
            late.write("asset", partition, Entry("f", "late"))
        with pytest.raises(LeaseLostError), store.guarded(Late(store, 4, "")):
            Ledger(store).write("asset", partition, Entry("f", "late"))
    assert len(Ledger(store).names("asset", "a.3")) == 3
    assert Ledger(store).read("asset", "a.3").data_version == "new"
    assert Ledger(store).read("asset").data_version == "new"
    assert Ledger(store).read_all("asset")["a.3"].data_version == "new"
    with store.guarded(Holding(store, 6, "")):
        Ledger(store).write("asset", "a.3", Entry("f", "newest"))
    assert Ledger(store).names("asset", "a.3") == ["ledger/asset/a.3.6.entry"]


def test_an_entry_from_elsewhere_with_a_higher_token_is_replaced_by_the_holders(store):
    Ledger(store).write("asset", "a", Entry("f", "foreign"))
    store.move("ledger/asset/a.json", "ledger/asset/a.99.entry")
    put(store, layout.lease(5), encoded(elsewhere(released=True)))
    with hold_lease(store, "mine"):
        Ledger(store).write("asset", "a", Entry("f", "made again"))
    assert Ledger(store).read("asset", "a").data_version == "made again"


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_holder_of_this_machine_delays_nobody(tmp_path, monkeypatch):
    script = (
        "import sys, time; from curator_assets.storage.lease import hold_lease;"
        "from curator_assets.storage.store import Store\n"
        "with hold_lease(Store(sys.argv[1]), 'killed'): print('held', flush=True); input()"
    )
    store = Store(str(tmp_path))
    with run(script, tmp_path) as process:
        assert process.stdout.readline() == "held\n"
        monkeypatch.setattr(lease, "WAIT_SECONDS", 0)
        expected = f"run killed, process {process.pid} on"
        with pytest.raises(RefreshRunningError, match=expected), hold_lease(store, "next"):
            pass
        process.send_signal(signal.SIGKILL)
        while LeaseWatch().look(store).lives:  # it is a zombie, not waited for, at the latest
            assert process.returncode is None
        with hold_lease(store, "next"):
            pass
    with hold_lease(store, "the one after"):
        pass


SLEEPER = """
import os, signal, sys
from curator_assets.storage import lease
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.store import Store
lease.BEAT_SECONDS = 0.05
store = Store(sys.argv[1])
def stop():
    os.kill(os.getpid(), signal.SIGSTOP)
with lease.hold_lease(store, 'sleeper'):
    ledger = Ledger(store)
    with store.write('data') as file:
        file.write(b'sleeper')
        if sys.argv[2] == 'data':
            stop()
    if sys.argv[2] == 'entry':
        stop()
    ledger.write('asset', 'a', Entry('f', f'sleeper'))
    if sys.argv[2] == 'nothing':
        stop()
"""


@pytest.mark.parametrize("left_to_write", ["data", "entry", "nothing"])
def test_a_holder_that_was_stopped_and_goes_on_never_becomes_current(
    tmp_path, monkeypatch, left_to_write
):
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.5)
    store = Store(str(tmp_path))
    with run(SLEEPER, tmp_path, left_to_write) as process:
        try:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            with hold_lease(store, "awake"):
                put(store, "data", b"awake")
                Ledger(store).write("asset", "a", Entry("f", "awake"))
                process.send_signal(signal.SIGCONT)
                _, told = process.communicate()
                assert process.returncode == 1
                assert "LeaseLostError: run sleeper was taken over from" in told
                assert "run awake" in told
        finally:
            process.kill()
    assert Ledger(store).read("asset", "a").data_version == "awake"
    assert Ledger(store).names("asset", "a") == ["ledger/asset/a.2.entry"]
    assert store.names("lease") == ["lease/2.json"]
    assert store.read("data") == b"awake"


def test_a_holder_lives_from_the_moment_that_its_file_is_there(store, monkeypatch):
    create, seen = Store.create, []

    def looked_at(self, name, data):
        is_made = create(self, name, data)
        seen.append(LeaseWatch().look(store).lives)
        return is_made

    monkeypatch.setattr(Store, "create", looked_at)
    with hold_lease(store, "mine"):
        pass
    assert seen == [True]


def test_time_in_which_the_store_did_not_answer_is_not_held_against_the_holder(store, monkeypatch):
    """Nobody could write then; once it is back the holder has all of the time again."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(lease, "time", clock)
    put(store, layout.lease(4), encoded(elsewhere()))
    watch, find = LeaseWatch(), lease._tokens

    def looked(*, away_seconds=0.0, after_seconds=0.0, fails=False):
        def tokens(store):
            clock.now += away_seconds
            if fails:
                raise OSError(errno.EIO, "no answer")
            return find(store)

        clock.now += after_seconds
        monkeypatch.setattr(lease, "_tokens", tokens)
        return watch.look(store).lives

    almost = lease.EXPIRY_SECONDS - 1
    assert looked()
    assert looked(away_seconds=60)  # a call that was tried until the store was back
    assert looked(after_seconds=almost)
    with pytest.raises(OSError, match="no answer"):
        looked(away_seconds=120, fails=True)
    assert looked(after_seconds=5)
    assert looked(after_seconds=almost)
    assert not looked(after_seconds=1)


def test_a_holder_outlasts_an_outage_for_all_and_beats_once_it_is_over(tmp_path, monkeypatch):
    """Longer than the expiry: the other host that waits does not take over."""
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1.0)
    monkeypatch.setattr(lease, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(outage, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(outage, "MAX_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    store, away = Store(f"memory://{tmp_path.name}"), threading.Event()
    monkeypatch.setattr(lease, "is_this_process", lambda _: False)  # or it is known to live
    monkeypatch.setattr(lease, "is_gone", lambda _: False)
    for name in ("find", "cat_file", "put_file", "rm_file"):
        call = getattr(type(store.fs), name)

        def failing(self, *args, call=call, **kwargs):
            if away.is_set():
                raise OSError(errno.EIO, "no answer")
            return call(self, *args, **kwargs)

        monkeypatch.setattr(type(store.fs), name, failing)
    watch = LeaseWatch()
    with hold_lease(store, "mine"):
        away.set()
        threading.Timer(2, away.clear).start()
        while (found := watch.look(store)).holder.beat < 3:
            assert found.lives
            time.sleep(0.005)
        assert not away.is_set()
    assert store.names("lease") == ["lease/1.json"]
