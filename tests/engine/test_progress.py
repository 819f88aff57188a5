import logging

import pytest

from curator_assets.engine import progress as module
from curator_assets.engine.progress import Progress, Watch, duration


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Told(Watch):
    def __init__(self):
        self.said = []

    def begun(self, progress):
        self.said.append("begun")

    def advanced(self, progress):
        self.said.append(round(progress.share, 3))

    def ended(self, progress):
        self.said.append("ended")


def test_share_and_time_left_go_by_the_bytes_of_the_tars(clock):
    told = Told()
    with Progress("s", "images", {"a": 100, "b": 300}, logging.getLogger(), told) as progress:
        assert progress.seconds_left is None
        clock.now = 10
        progress.advance("a", 5, 50)
        assert progress.per_second == 0.5
        assert progress.seconds_left == pytest.approx(70)
        progress.advance("a", 5, 80)  # more than the tar: it counts as the whole of it
        progress.finish("a")
        progress.advance("b", 5, 150)
        progress.finish("b", 3)
    assert told.said == ["begun", 0.125, 0.25, 0.25, 0.625, 1, "ended"]
    assert progress.per_second == 1.8


def test_the_log_has_a_line_every_ten_seconds_and_at_the_end(clock, caplog):
    caplog.set_level(logging.INFO)
    log = logging.getLogger("run")
    with Progress("s", "images", {"a": 1, "b": 1}, log, Watch()) as progress:
        for clock.now in range(1, 13):
            progress.advance("a", 1, 0)
        progress.finish("a")
        clock.now = 14
        progress.finish("b")
    assert [record.getMessage() for record in caplog.records] == [
        "s: 10 images, 1.0/s; 0 of 2 partitions finished (0 %)",
        "s: 12 images, 0.9/s; 2 of 2 partitions finished (100 %)",
    ]
    assert all(record.is_progress for record in caplog.records)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (89, "89 s"), (95, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said
