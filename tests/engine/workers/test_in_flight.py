"""What one process writes of images in flight, another reads as it was written."""

import os
import subprocess
import sys
import time

from curator_assets.engine.workers.in_flight import N_ROWS, InFlight


def test_what_is_held_is_found_and_what_was_held_is_not():
    mine, theirs = [InFlight(fd) for fd in [InFlight.create()] * 2]
    with mine.hold(10, ["a" * 32]), mine.hold(10, ["b", "c"]):
        found = theirs.found()
        assert [flying.name for flying in found] in (["b", "c", "a" * 32], ["c", "b", "a" * 32])
        assert [flying.n_beside for flying in found] == [1, 1, 0]
        assert theirs.overdue() == []
    assert theirs.found() == []


def test_what_takes_longer_than_it_may_is_overdue():
    mine = InFlight(InFlight.create())
    with mine.hold(0, ["slow"]), mine.hold(10, ["quick"]):
        time.sleep(0.001)
        assert [flying.name for flying in mine.overdue()] == ["slow"]


def test_of_more_than_there_is_room_for_the_last_are_not_told_of():
    mine = InFlight(InFlight.create())
    names = [str(i) for i in range(N_ROWS + 10)]
    with mine.hold(10, names), mine.hold(10, ["one more"]):
        assert {flying.name for flying in mine.found()} == set(names[:N_ROWS])
    with mine.hold(10, ["one more"]):
        assert [flying.name for flying in mine.found()] == ["one more"]


HOLD = """
import sys
from curator_assets.engine.workers.in_flight import InFlight
theirs = InFlight(int(sys.argv[1]))
for _ in range(50_000):
    with theirs.hold(1000, ["x" * 32]):
        pass
"""


def test_nothing_is_overdue_for_being_read_while_it_is_written():
    fd = InFlight.create()
    mine, n_looks, before, stopped = InFlight(fd), 0, [], []
    with subprocess.Popen([sys.executable, "-c", HOLD, str(fd)], pass_fds=[fd]) as writer:
        while writer.poll() is None:
            now = mine.overdue()
            stopped += [flying for flying in now if flying in before]
            before, n_looks = now, n_looks + 1
    os.close(fd)
    assert writer.returncode == 0
    assert n_looks > 100
    assert stopped == []
