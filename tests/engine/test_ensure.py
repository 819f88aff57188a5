import errno
import logging
from contextlib import contextmanager

import dagster as dg
import pytest

from curator_assets.engine.dagster.assets import stage_asset
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.dagster.private_names import (
    CachingStaleStatusResolver,
    LoadingContextForTest,
)
from curator_assets.engine.freshness import why_stale
from curator_assets.engine.partitioning import MissingInputError, PartitionError, Partitioning
from curator_assets.engine.stage import Check, Dep, Graph, Made, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.storage.bucket.errors import StoreRefusedError
from curator_assets.storage.bucket.outage import StoreAwayError
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.store import Store


class Project:
    """Two tiny assets: `raw` made of what `inputs` says, and `copy` that is downstream of it."""

    def __init__(self, folder, instance):
        self.settings = Settings(source="unused", output=str(folder))
        self.store = Store(str(folder))
        self.inputs = {"a": "1", "b": "1", "c": "1"}
        self.failing = {}
        self.made = []
        self.warnings = {}
        self.instance = instance
        InstanceRegistry(instance, self.settings).add(list(self.inputs))
        self.raw = self.stage("raw", (), lambda _, partition: {"content": self.inputs[partition]})
        deps = (Dep(self.raw),)
        self.copy = self.stage("copy", deps, lambda work, p: work.versions(p, self.raw))
        self.graph = Graph((self.raw, self.copy), order=self.raw)

    def stage(self, name, deps, inputs):
        @contextmanager
        def open_stage(work):
            yield lambda partition: self.make(stage, work, partition)

        stage = Stage(
            name=name,
            by=Partitioning.SHARD,
            deps=deps,
            group="tiny",
            kinds=frozenset(),
            description="tiny",
            version="1",
            covers=lambda _: None,
            files=lambda partition: (f"{name}/{partition}",),
            inputs=inputs,
            making=OneByOne(open_stage),
            checks=(Check("sound", "It is."),),
        )
        return stage

    def make(self, stage, work, partition):
        if error := self.failing.get((stage.name, partition)):
            raise error
        self.made.append((stage.name, partition))
        (file,) = stage.files(partition)
        with self.store.write(file) as target:
            target.write(str(stage.inputs(work, partition)).encode())
        checks = {} if self.warnings else {"sound": {"n": 1}}
        return Made(partition, {"n": 3}, checks=checks, warnings=self.warnings)

    def run(self, first="a", last="c", *, fails=False, force=False):
        self.made = []
        return dg.materialize(
            self.assets(),
            instance=self.instance,
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            },
            run_config={"ops": {"raw": {"config": {"force": force}}}},
            raise_on_error=not fails,
        )

    def assets(self):
        return [stage_asset(stage, self.graph, self.settings) for stage in self.graph.stages]

    def work(self):
        return Work(self.settings, tuple(self.inputs), logging.getLogger(__name__))


BROKEN = PartitionError("it is broken", check="sound")


@pytest.fixture
def project(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(tmp_path, instance)


def test_what_is_fresh_is_reported_but_not_made(project):
    project.run()
    assert project.made == [(name, key) for name in ("raw", "copy") for key in "abc"]
    result = project.run()
    assert project.made == []
    events = result.get_asset_materialization_events()
    assert len(events) == 6
    assert {e.materialization.metadata["work_done"].value for e in events} == {False}


def test_one_event_a_partition_with_its_own_version(project):
    project.inputs["b"] = "2"
    events = project.run().get_asset_materialization_events()
    found = [(e.asset_key.to_user_string(), e.partition) for e in events]
    assert found == [(name, key) for name in ("raw", "copy") for key in "abc"]
    version = {
        p: e.materialization.tags["dagster/data_version"]
        for (_, p), e in zip(found, events, strict=True)
    }
    assert version["a"] == version["c"] != version["b"]


def test_only_the_changed_partition_is_made_again_all_the_way_down(project):
    project.run()
    project.inputs["b"] = "2"
    project.run()
    assert project.made == [("raw", "b"), ("copy", "b")]


def test_what_is_downstream_is_left_alone_if_the_content_is_the_same(project):
    project.run()
    project.run(force=True)
    assert project.made == [("raw", "a"), ("raw", "b"), ("raw", "c")]


def test_a_failed_partition_costs_only_itself_and_is_tried_again(project):
    project.failing = {("raw", "b"): BROKEN}
    result = project.run(fails=True)
    assert not result.success
    assert project.made == [("raw", "a"), ("raw", "c")]
    message = result.failure_data_for_node("raw").user_failure_data.description
    assert "1 partition(s) could not be made" in message
    assert "b: it is broken" in message
    (failed,) = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert (failed.check_name, failed.metadata["n_passed"].value) == ("sound", 2)
    (row,) = failed.metadata["failed"].records
    assert row.data == {"partition": "b", "error": "it is broken"}
    project.failing = {}
    project.run()
    assert project.made == [("raw", "b"), ("copy", "a"), ("copy", "b"), ("copy", "c")]


def test_what_cannot_be_recorded_fails_alone_and_is_made_again(project, monkeypatch):
    def full(ledger, asset, partition, entry, metadata):
        if (asset, partition) == ("raw", "b"):
            raise OSError(errno.ENOSPC, "No space left on device", "ledger/raw/b.json")
        write(ledger, asset, partition, entry, metadata)

    write = Ledger.write
    monkeypatch.setattr(Ledger, "write", full)
    result = project.run(fails=True)
    message = result.failure_data_for_node("raw").user_failure_data.description
    assert "1 partition(s) could not be made; the others were" in message
    assert "b: it was made, but could not be recorded: [Errno 28] No space left" in message
    assert "ledger/raw/b.json" in message
    monkeypatch.undo()
    project.run()
    assert project.made == [("raw", "b"), ("copy", "a"), ("copy", "b"), ("copy", "c")]


@pytest.mark.parametrize("writes", [False, True])
def test_storage_that_is_away_ends_it_all_at_once(project, monkeypatch, writes):
    away = StoreAwayError("writing s3://b/a: it does not answer; the store seems to be away")
    n_tried = 0

    def fail(*_: object) -> None:
        nonlocal n_tried
        n_tried += 1
        raise away

    if writes:
        monkeypatch.setattr(Ledger, "write", fail)
    else:
        monkeypatch.setattr(project, "make", fail)
    result = project.run(fails=True)
    assert n_tried == 1
    assert "the store seems to be away" in str(result.failure_data_for_node("raw"))
    assert "partition(s) could not be made" not in str(result.failure_data_for_node("raw"))
    monkeypatch.undo()
    project.run()
    assert {partition for name, partition in project.made if name == "copy"} == {"a", "b", "c"}


def test_a_store_that_refuses_everything_is_told_once_of_all(project, monkeypatch):
    def refuse(*_: object) -> None:
        raise StoreRefusedError("s3://b: the store refuses: its clock is another")

    monkeypatch.setattr(Ledger, "write", refuse)
    message = project.run(fails=True).failure_data_for_node("raw").user_failure_data.description
    assert message.count("the store refuses") == 1
    assert project.made == [("raw", "a")]


def test_a_store_that_refuses_to_tell_what_is_there_is_told_once_of_all(project, monkeypatch):
    project.run()

    def refuse(_: Ledger, entry: Entry) -> list[str]:
        raise StoreRefusedError(f"s3://b/{min(entry.files)}: the store refuses: another clock")

    monkeypatch.setattr(Ledger, "missing_files", refuse)
    message = project.run(fails=True).failure_data_for_node("raw").user_failure_data.description
    assert message.count("the store refuses") == 1


def test_passed_checks_are_reported_for_fresh_partitions_too(project):
    project.run()
    evaluations = project.run().get_asset_check_evaluations()
    assert len(evaluations) == 2
    assert all(e.passed and e.metadata["n_passed"].value == 3 for e in evaluations)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\x00", b'{"values": 1}'])
def test_damaged_metadata_costs_what_it_would_have_shown(project, content):
    project.run()
    with project.store.write("metadata/raw/b.json") as file:
        file.write(content)
    events = project.run().get_asset_materialization_events()
    assert project.made == []
    shown = {
        (e.asset_key.to_user_string(), e.partition): e.materialization.metadata for e in events
    }
    assert "is damaged" in shown["raw", "b"]["metadata_error"].value
    assert shown["raw", "c"]["n"].value == 3


def test_a_warning_is_shown_and_holds_nothing_up(project):
    project.warnings = {"sound": {"n": 2}}
    result = project.run()
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {(e.passed, e.severity.value) for e in evaluations} == {(False, "WARN")}


def test_dagsters_own_staleness_agrees(project):
    def stale():
        graph = dg.Definitions(assets=project.assets()).resolve_asset_graph()
        resolver = CachingStaleStatusResolver(
            project.instance, graph, LoadingContextForTest(project.instance)
        )
        return [
            key for key in "abc" if resolver.get_status(dg.AssetKey("copy"), key).value != "FRESH"
        ]

    project.run()
    assert stale() == []
    project.inputs["b"] = "2"
    project.run(fails=False)
    assert stale() == []
    project.failing = {("copy", "b"): BROKEN}
    project.inputs["b"] = "3"
    project.run(fails=True)
    assert stale() == ["b"]


def test_a_missing_input_names_the_command_that_makes_it(project):
    with pytest.raises(MissingInputError, match="--select raw --partition x"):
        project.work().require(project.raw, "x")


def test_why_a_partition_is_stale(project):
    assert why_stale(project.raw, project.work(), "a") == "never made"
    project.run()
    project.inputs["b"] = "2"
    project.store.remove("raw/c")
    work = project.work()
    reasons = [why_stale(project.raw, work, key) for key in "abc"]
    assert reasons == [None, "changed: content", "missing: raw/c"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("a size of -1"), "b: ValueError: a size of -1"),
        (MemoryError(), "b: MemoryError"),
        (OSError(errno.EACCES, "Permission denied", "b.tar"), "Permission denied: 'b.tar'"),
        (RecursionError("too deep"), "b: RecursionError: too deep"),
    ],
)
def test_whatever_one_partition_meets_the_others_are_made(project, error, says):
    project.failing = {("raw", "b"): error}
    result = project.run(fails=True)
    assert project.made == [("raw", "a"), ("raw", "c")]
    message = result.failure_data_for_node("raw").user_failure_data.description
    assert "1 partition(s) could not be made" in message
    assert says in message


def test_a_reversed_range_is_refused_not_passed_over(project):
    result = project.run("c", "a", fails=True)
    assert not result.success
