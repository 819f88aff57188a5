"""The sensor beside a refresh, on this machine and on another."""

from dataclasses import replace
from types import SimpleNamespace

import dagster as dg
import pytest
from storage.conftest import put
from tar_files import write_members

from curator_assets.defs.source import tar_sensor
from curator_assets.defs.source.tar_sensor import build_tar_sensor
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.job import refresh_job
from curator_assets.settings import Settings
from curator_assets.storage import layout, lease
from curator_assets.storage.holder import encoded, me
from curator_assets.storage.lease import hold_lease
from curator_assets.storage.store import Store


class Project:
    def __init__(self, folder, instance):
        self.source, self.instance = folder / "tars", instance
        settings = Settings(source=str(self.source), output=str(folder / "out"))
        self.store = Store(settings.output)
        self.job = refresh_job(GRAPH, settings)
        self.sensor = build_tar_sensor(settings, self.job)
        self.drop("a")

    def drop(self, name):
        write_members(self.source / f"{name}.tar", [("0.txt", b"a")])

    def tick(self):
        context = dg.build_sensor_context(instance=self.instance)
        return self.sensor(context)

    def started_run(self):
        run = self.instance.create_run_for_job(self.job)
        for event in (dg.DagsterEventType.PIPELINE_STARTING, dg.DagsterEventType.PIPELINE_START):
            self.instance.report_dagster_event(
                dg.DagsterEvent(event.value, job_name=self.job.name), run.run_id
            )
        assert self.status(run) is dg.DagsterRunStatus.STARTED
        return run

    def status(self, run):
        return self.instance.get_run_by_id(run.run_id).status


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_sensor, "STARTING_SECONDS", -1)
    monkeypatch.setattr(tar_sensor, "POLL_SECONDS", 0)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(tmp_path, instance)


def beat(project, n, **changes):
    theirs = replace(me("theirs"), host="other-host", machine="another boot", beat=n, **changes)
    put(project.store, layout.lease(7), encoded(theirs))


def test_beside_a_refresh_it_requests_nothing_and_afterwards_what_came_meanwhile(project):
    project.tick()
    with hold_lease(project.store, "the-first"):
        project.drop("b")
        for _ in range(3):
            assert "A refresh is running (run the-first, process" in project.tick().skip_message
    assert [project.tick().tags["curator/tars_ready"] for _ in range(2)] == ["1", "1"]
    assert isinstance(project.tick(), dg.SkipReason)


def test_another_hosts_holder_lives_for_as_long_as_its_beat_grows(project, monkeypatch):
    run, clock = project.started_run(), SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(lease, "time", clock)
    for n in range(3):
        beat(project, n)
        for clock.now in (100.0 * n, 100.0 * n + lease.EXPIRY_SECONDS - 1):
            assert "run theirs, process" in project.tick().skip_message
            assert "on other-host" in project.tick().skip_message
    assert project.status(run) is dg.DagsterRunStatus.STARTED
    clock.now += 1
    assert isinstance(project.tick(), dg.RunRequest)
    assert project.status(run) is dg.DagsterRunStatus.FAILURE


def test_another_hosts_holder_that_let_go_holds_nothing_up(project):
    beat(project, 3, released=True)
    run = project.started_run()
    assert isinstance(project.tick(), dg.RunRequest)
    assert project.status(run) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_took_the_lease_while_the_sensor_looked_is_not_failed(project, monkeypatch):
    run = project.started_run()
    beat(project, 3, released=True)

    def taken(_):
        put(project.store, layout.lease(8), encoded(me("the one that waited")))

    monkeypatch.setattr(tar_sensor.time, "sleep", taken)
    monkeypatch.setattr(lease, "is_this_process", lambda _: False)
    project.tick()
    assert project.status(run) is dg.DagsterRunStatus.STARTED
