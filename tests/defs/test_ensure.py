import errno

import dagster as dg
import pytest

from curator_assets.defs.ensure import EnsureConfig, ensure
from curator_assets.defs.stage import Failed, Made, MissingInputError, Stage, Work
from curator_assets.resources import Storage
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.store import Store

SHARDS = dg.DynamicPartitionsDefinition(name="shards")


class Project:
    """Two tiny assets: `raw` made of what `inputs` says, and `copy` that is downstream of it."""

    def __init__(self, folder, instance):
        self.store = Store(str(folder))
        self.inputs = {"a": "1", "b": "1", "c": "1"}
        self.failing = set()
        self.made = []
        self.warnings = {}
        self.instance = instance
        self.instance.add_dynamic_partitions("shards", list(self.inputs))

    def run(self, first="a", last="c", *, fails=False, force=False):
        self.made = []
        result = dg.materialize(
            [self.asset("raw", []), self.asset("copy", ["raw"])],
            instance=self.instance,
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            },
            run_config={"ops": {"raw": {"config": {"force": force}}}},
            raise_on_error=not fails,
        )
        return result

    def asset(self, name, deps):
        @dg.asset(
            name=name,
            deps=deps,
            partitions_def=SHARDS,
            code_version="1",
            backfill_policy=dg.BackfillPolicy.single_run(),
            check_specs=[dg.AssetCheckSpec("sound", asset=name, blocking=True)],
        )
        def body(context: dg.AssetExecutionContext, config: EnsureConfig):
            work = self.work()
            yield from ensure(context, self.stage(name, deps, work), work, config)

        return body

    def work(self):
        return Work(None, Storage(source="unused", output=self.store.root), None, (), None)

    def stage(self, name, deps, work):
        def inputs(partition):
            if deps:
                return {"raw": work.require_version("raw", partition)}
            return {"content": self.inputs[partition]}

        def make(partitions):
            for partition in partitions:
                if (name, partition) in self.failing:
                    yield Failed(partition, "it is broken", check="sound")
                    continue
                self.made.append((name, partition))
                file = f"{name}/{partition}"
                with self.store.write(file) as target:
                    target.write(str(inputs(partition)).encode())
                checks = {} if self.warnings else {"sound": {"n": 1}}
                yield Made(partition, (file,), {"n": 3}, checks=checks, warnings=self.warnings)

        return Stage(name, "1", inputs, make)


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
    project.failing = {("raw", "b")}
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
    project.failing = set()
    project.run()
    assert project.made == [("raw", "b"), ("copy", "a"), ("copy", "b"), ("copy", "c")]


def test_what_cannot_be_recorded_fails_alone_and_is_made_again(project, monkeypatch):
    def full(ledger, asset, partition, entry):
        if (asset, partition) == ("raw", "b"):
            raise OSError(errno.ENOSPC, "No space left on device", "ledger/raw/b.json")
        write(ledger, asset, partition, entry)

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


def test_passed_checks_are_reported_for_fresh_partitions_too(project):
    project.run()
    evaluations = project.run().get_asset_check_evaluations()
    assert len(evaluations) == 2
    assert all(e.passed and e.metadata["n_passed"].value == 3 for e in evaluations)


def test_a_warning_is_shown_and_holds_nothing_up(project):
    project.warnings = {"sound": {"n": 2}}
    result = project.run()
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {(e.passed, e.severity.value) for e in evaluations} == {(False, "WARN")}


def test_dagsters_own_staleness_agrees(project):
    from dagster._core.definitions.data_version import CachingStaleStatusResolver

    def stale():
        graph = dg.Definitions(
            assets=[project.asset("raw", []), project.asset("copy", ["raw"])]
        ).resolve_asset_graph()
        from dagster._core.loader import LoadingContextForTest

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
    project.failing = {("copy", "b")}
    project.inputs["b"] = "3"
    project.run(fails=True)
    assert stale() == ["b"]


def test_a_missing_input_names_the_command_that_makes_it(tmp_path):
    work = Work(None, Storage(source="unused", output=str(tmp_path)), None, (), None)
    with pytest.raises(MissingInputError, match="--select image_embeddings --partition x"):
        work.require("image_embeddings", "x")


def test_why_a_partition_is_stale(project, tmp_path):
    work = project.work()
    assert project.stage("raw", [], work).why_stale("a", work.ledger) == "never made"
    project.run()
    project.inputs["b"] = "2"
    project.store.remove("raw/c")
    work = project.work()
    raw = project.stage("raw", [], work)
    reasons = [raw.why_stale(key, work.ledger) for key in "abc"]
    assert reasons == [None, "changed: content", "missing: raw/c"]


def test_a_reversed_range_is_refused_not_passed_over(project):
    result = project.run("c", "a", fails=True)
    assert not result.success
