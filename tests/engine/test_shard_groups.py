"""Shards of several ranks that are one partition in Dagster."""

import logging
from contextlib import contextmanager
from types import SimpleNamespace

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tar_files import write_members

from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.dagster.assets import external_asset, stage_asset
from curator_assets.engine.dagster.group_events import GroupReporter
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.dagster.job import OP, refresh_job
from curator_assets.engine.dagster.private_names import (
    CachingStaleStatusResolver,
    LoadingContextForTest,
)
from curator_assets.engine.dagster.shard_groups import group_key, grouped
from curator_assets.engine.intake import look, register
from curator_assets.engine.partitioning import MissingInputError, PartitionError, Partitioning
from curator_assets.engine.stage import Check, Dep, Graph, Made, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.storage.shards.tar_versions import read_version, version_of_content

A, B, C = "0000000-0000001", "0000002-0000003", "0000004-0000005"


@hypothesis_settings(max_examples=30)
@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 9), st.data())
def test_a_shard_is_in_one_group_and_stays_there_whatever_comes_and_goes(names, n, data):
    ranks = {name: rank for rank, name in enumerate(names)}
    groups = grouped(names, ranks, n)
    assert [shard for shards in groups.values() for shard in shards] == names
    assert all(len(shards) <= n for shards in groups.values())
    assert list(groups) == sorted(groups)
    left = data.draw(st.sets(st.sampled_from(names))) if names else set()
    found = grouped(left, ranks, n)
    assert all(set(shards) <= set(groups[key]) for key, shards in found.items())
    assert {shard for shards in found.values() for shard in shards} == left


def test_a_missing_input_is_asked_for_by_shard(project):
    work = Work(project.settings, ("a",), logging.getLogger(__name__))
    with pytest.raises(MissingInputError, match=r"raw of 'a' .* make it first: curate refresh a$"):
        work.require(project.graph.stages[0], "a")


def test_a_key_is_the_ranks_that_its_group_may_hold():
    assert group_key(0, 100) == "0000000-0000099"
    assert group_key(12_345_678, 10) == "12345670-12345679"


class Project:
    """Tars; `raw` made of each, `copy` of that, `all` of all of both, `cells` of all copies."""

    def __init__(self, folder, instance):
        self.folder, self.instance, self.n, self.failing = folder, instance, 2, set()
        self.made = []
        raw = self.stage("raw", (Dep(TAR_SHARDS),), self.read)
        copy = self.stage("copy", (Dep(raw),), lambda work, p: work.versions(p, raw))
        cells = self.stage("cells", (Dep(copy),), lambda *_: {"x": "1"}, Partitioning.CELL_GROUP)
        total = self.stage(
            "total",
            (Dep(raw), Dep(cells)),
            lambda work, _: {s: e.data_version for s, e in work.made_shards(raw).items()},
            Partitioning.WHOLE,
        )
        self.graph = Graph((raw, copy, cells, total), order=total)

    @property
    def settings(self):
        return Settings(
            source=str(self.folder / "tars"),
            output=str(self.folder / "out"),
            shards_per_partition=self.n,
            clusters={"n_cell_groups": 1},
            max_removed_fraction=1,
            model={"device": "cpu"},
        )

    def stage(self, name, deps, inputs, by=Partitioning.SHARD):
        @contextmanager
        def open_stage(work):
            yield lambda partition: self.make(stage, work, partition)

        stage = Stage(
            name=name,
            by=by,
            deps=deps,
            group="tiny",
            kinds=frozenset(),
            description="tiny",
            version="1",
            covers=lambda settings: settings,
            files=lambda partition: (f"{name}/{partition or 'all'}",),
            inputs=inputs,
            making=OneByOne(open_stage),
            checks=(Check("sound", "It is."),),
            words=lambda n, _: f"{n['dagster/row_count']} rows",
        )
        return stage

    def read(self, work, shard):
        if work.entry(self.graph.stages[0], shard) is None:
            return None
        return {TAR_SHARDS.name: read_version(work.ledger, TAR_SHARDS.name, work.tars, shard)[0]}

    def make(self, stage, work, partition):
        if (stage.name, partition) in self.failing:
            raise PartitionError("it is broken", check="sound")
        self.made.append((stage.name, partition))
        inputs, read = None, {}
        if stage.name == "raw":
            signature = work.tars.signature(partition)
            version, content = read_version(work.ledger, TAR_SHARDS.name, work.tars, partition)
            inputs = {TAR_SHARDS.name: version}
            if content:
                entry = version_of_content(work.store, partition, signature, content)
                read = {TAR_SHARDS.name: entry}
        with work.store.write(stage.files(partition)[0]) as file:
            file.write(str(inputs or stage.inputs(work, partition)).encode())
        metadata = {"dagster/row_count": 3, "n_clusters": 7}
        return Made(partition, metadata, checks={"sound": {}}, inputs=inputs, read=read)

    def drop(self, *shards, data=b""):
        for shard in shards:
            write_members(self.folder / f"tars/{shard}.tar", [("0.txt", data or shard.encode())])

    def refresh(self, **config):
        """What was made, and the last event of each asset and partition that was reported."""
        self.made = []
        config = {"ops": {OP: {"config": config}}}
        result = refresh_job(self.graph, self.settings).execute_in_process(
            instance=self.instance, run_config=config, raise_on_error=False
        )
        return self.told(result)

    def materialize(self, *assets, keys):
        self.made = []
        registry = InstanceRegistry(self.instance, self.settings)
        register(look(self.graph, self.settings, registry), self.settings, registry)
        first, last = keys
        result = dg.materialize(
            self.assets(),
            selection=list(assets),
            instance=self.instance,
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            },
            raise_on_error=False,
        )
        return self.told(result)

    def told(self, result):
        made, observed = {}, {}
        for event in result.all_events:
            if event.is_step_materialization:
                found = event.step_materialization_data.materialization
                made[found.asset_key.to_user_string(), found.partition] = values(found)
            if event.event_type_value == "ASSET_OBSERVATION":
                found = event.event_specific_data.asset_observation
                observed[found.asset_key.to_user_string(), found.partition] = values(found)
        failures = [e.step_failure_data for e in result.all_events if e.is_step_failure]
        shown = [failure.user_failure_data for failure in failures]
        errors = [failure.description for failure in shown if failure]
        return SimpleNamespace(made=made, observed=observed, errors=errors)

    def assets(self):
        stages = [stage_asset(stage, self.graph, self.settings) for stage in self.graph.stages]
        return [external_asset(TAR_SHARDS, self.settings), *stages]

    def marks(self):
        """Asset and partition -> what Dagster's own marks say where that is not FRESH."""
        graph = dg.Definitions(assets=self.assets()).resolve_asset_graph()
        loading = LoadingContextForTest(self.instance)
        resolver = CachingStaleStatusResolver(self.instance, graph, loading)
        marks = {}
        for key in graph.materializable_asset_keys:
            partitions = graph.get(key).partitions_def
            keys = [None]
            if partitions:
                keys = partitions.get_partition_keys(dynamic_partitions_store=self.instance)
            for partition in keys:
                marks[key.to_user_string(), partition] = resolver.get_status(key, partition).value
        return {at: mark for at, mark in marks.items() if mark != "FRESH"}

    def keys(self):
        partitions = self.assets()[0].partitions_def
        return list(partitions.get_partition_keys(dynamic_partitions_store=self.instance))


def values(event):
    tags = {"version": event.tags.get("dagster/data_version")}
    table = dg.TableMetadataValue
    shown = {k: v if isinstance(v, table) else v.value for k, v in event.metadata.items()}
    return tags | shown


@pytest.fixture
def project(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(tmp_path, instance)


def test_groups_fill_lose_shards_and_go(project):
    project.drop("a", "b...c", "d\n")
    first = project.refresh()
    assert project.keys() == [A, B]
    by_group = {(name, key) for name in ("raw", "copy") for key in (A, B)}
    assert set(first.made) == by_group | {("cells", "0000"), ("total", None)}
    assert set(first.observed) == {("tar_shards", A), ("tar_shards", B)}
    found = first.made["raw", A]
    counts = {name: found[name] for name in ("dagster/row_count", "n_shards", "n_made_now")}
    assert counts == {"dagster/row_count": 6, "n_shards": 2, "n_made_now": 2}
    assert found["shards"] == "a, b...c"
    assert found["summary"] == "6 rows"
    assert (found["folder"], found["report"]) == tuple(
        str(project.folder / "out" / name) for name in ("raw", "report/index.html")
    )
    assert "n_clusters" not in found
    assert project.marks() == {}
    nothing = project.refresh()
    assert (project.made, nothing.made, nothing.observed) == ([], {}, {})

    project.drop("e")
    filled = project.refresh()
    assert project.made == [("raw", "e"), ("copy", "e"), ("total", "")]
    assert {key for _, key in filled.made} == {B, "0000", None}
    assert set(filled.observed) == {("tar_shards", B)}
    assert filled.made["raw", B]["version"] != first.made["raw", B]["version"]
    found = filled.made["raw", B]
    assert (found["n_shards"], found["n_made_now"], found["work_done"]) == (2, 1, True)
    assert project.marks() == {}

    (project.folder / "tars/a.tar").unlink()
    smaller = project.refresh()
    assert project.made == [("total", "")]
    assert set(smaller.made) == {("raw", A), ("copy", A), ("cells", "0000"), ("total", None)}
    assert smaller.made["raw", A]["n_shards"] == 1
    assert smaller.made["raw", A]["version"] != first.made["raw", A]["version"]
    assert project.marks() == {}

    (project.folder / "tars/b...c.tar").unlink()
    assert {key for _, key in project.refresh().made} == {None}
    assert project.keys() == [B]
    project.drop("a")
    assert project.refresh().made["raw", A]["shards"] == "a"
    assert set(project.keys()) == {A, B}
    assert project.marks() == {}


def test_a_group_is_made_once_all_of_its_shards_are(project):
    project.drop("a", "b", "c")
    project.failing = {("raw", "b")}
    told = project.refresh()
    assert project.made[:2] == [("raw", "a"), ("raw", "c")]
    assert {key for _, key in told.made} == {B, "0000", None}
    assert "b: it is broken" in told.errors[0]
    lacking = told.observed["raw", A]
    assert lacking["version"] is None
    assert (lacking["n_shards"], lacking["n_made"], lacking["n_lacking"]) == (2, 1, 1)
    (row,) = lacking["lacking"].records
    assert row.data == {"shard": "b", "why": "it is broken"}
    assert "1 of 2 shards are made" in lacking["incomplete"]
    assert project.marks()["raw", A] == "MISSING"
    project.failing = set()
    told = project.refresh()
    assert ("raw", "a") not in project.made
    assert told.made["raw", A]["n_made_now"] == 1
    assert project.marks() == {}
    before = told.made["raw", A]["version"]
    project.drop("a", "b", data=b"another")
    project.failing = {("raw", "b")}
    told = project.refresh()  # b stands as it was
    assert ("raw", A) not in told.made
    assert told.observed["raw", A]["n_made"] == 1
    project.failing = set()
    assert project.refresh().made["raw", A]["version"] != before
    assert project.marks() == {}


def test_a_range_of_groups_is_made_and_one_failing_shard_costs_its_group(project):
    project.drop("a", "b", "c", "d", "e")
    project.failing = {("raw", "c")}
    told = project.materialize("raw", keys=(A, B))
    assert project.made == [("raw", shard) for shard in "abd"]
    assert set(told.made) == {("raw", A)}
    assert "raw: 1 shard(s) could not be made; the others were.\nc: it is broken" in told.errors[0]
    project.failing = set()
    told = project.materialize("raw", "copy", keys=(B, C))
    assert project.made[:2] == [("raw", "c"), ("raw", "e")]
    assert set(told.made) == {(name, key) for name in ("raw", "copy") for key in (B, C)}
    assert told.made["raw", B]["n_made_now"] == 1
    assert "runs backwards" in project.materialize("raw", keys=(B, A)).errors[0]
    project.refresh(shards=["a"])
    assert ("copy", "a") in project.made
    assert ("copy", "b") not in project.made


def test_another_grouping_makes_nothing_and_reports_everything(project):
    project.drop("a", "b", "c")
    project.refresh()
    shard_keys = {("raw", s) for s in "abc"} | {("copy", s) for s in "abc"}
    for n, keys, n_observed in [(1, list("abc"), 3), (3, ["0000000-0000002"], 1), (2, [A, B], 0)]:
        project.n = n
        assert set(project.marks().values()) <= {"MISSING"}
        told = project.refresh()
        assert project.made == []
        assert project.keys() == keys
        by_shard = {(name, key) for name in ("raw", "copy") for key in keys}
        assert set(told.made) == by_shard | {("cells", "0000"), ("total", None)}
        assert len(told.observed) == n_observed
        assert project.marks() == {}
        assert project.refresh().made == {}
    project.drop("a", data=b"another")
    project.refresh()
    project.n = 1  # Dagster knows another version of a, from before
    told = project.refresh()
    assert project.made == []
    assert set(told.made) == shard_keys | {("cells", "0000"), ("total", None)}
    assert set(told.observed) == {("tar_shards", "a")}
    assert project.marks() == {}
    names = project.instance.get_dynamic_partitions("shard_groups")
    assert list(names) == []


def test_what_another_grouping_reported_of_some_is_made_up_for(project):
    project.n = 1
    project.drop("a", "b")
    old = project.refresh().made["raw", "a"]["version"]
    project.n = 2
    project.drop("a", data=b"another")
    assert set(project.refresh(shards=["a"]).made) >= {("raw", A), ("copy", A)}
    assert project.refresh(shards=["a"]).made == {}
    project.n = 1
    told = project.refresh()
    assert project.made == []
    assert told.made["raw", "a"]["version"] != old
    assert set(told.observed) == {("tar_shards", "a")}
    assert project.marks() == {}


def test_a_kill_between_work_and_event_is_made_up_for(project, monkeypatch):
    project.drop("a", "b")
    project.refresh()
    project.drop("a", data=b"another")

    def killed(self, key):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(GroupReporter, "_report", killed)
        project.refresh()
    assert ("raw", "a") in project.made
    told = project.refresh()
    assert ("raw", "a") not in project.made
    assert ("raw", A) in told.made
    assert project.marks() == {}
