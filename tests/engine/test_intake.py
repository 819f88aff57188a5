"""Which shards there are: the source, the output and the instance agree, whatever was lost."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from pipeline import Pipeline, copied
from registered import Registered
from tar_files import write_members

from curator_assets.cli.plan import planned, print_plan
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.intake import (
    LostArrivalsError,
    known_shards,
    let_go,
    look,
    register,
    why_other_source,
)
from curator_assets.engine.intake_words import require_usable
from curator_assets.engine.plan import plan
from curator_assets.errors import RemovalsHeldBackError
from curator_assets.settings import Settings
from curator_assets.storage.arrivals import read_arrivals, record_arrivals
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.store import Store


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "tars").mkdir()
    return Settings(source=str(tmp_path / "tars"), output=str(tmp_path / "out"))


def drop(settings, *names) -> None:
    for name in names:
        write_members(Path(settings.source) / f"{name}.tar", [("0.txt", b"a")])


def take_in(settings, registry) -> None:
    intake = look(GRAPH, settings, registry)
    let_go(intake, GRAPH, settings, registry)
    register(intake, settings, registry)


# tars there, ranks, registered -> shards in order, unranked, unregistered, removed
CASES = {
    "nothing known": ("ba", "", "", ("ab", "ab", "ab", "")),
    "all known": ("ab", "ba", "ba", ("ba", "", "", "")),
    "a new one": ("abc", "ba", "ba", ("bac", "c", "c", "")),
    "another instance": ("ab", "ba", "", ("ba", "", "ba", "")),
    "another output": ("ab", "", "ab", ("ab", "ab", "", "")),
    "one is gone": ("a", "ba", "ba", ("a", "", "", "b")),
    "one came back": ("abc", "cab", "ab", ("cab", "", "c", "")),
    "gone long ago": ("a", "ba", "a", ("a", "", "", "")),
}


@pytest.mark.parametrize(("there", "ranks", "names", "expected"), CASES.values(), ids=list(CASES))
def test_what_lacks_a_rank_or_a_partition_gets_it(settings, there, ranks, names, expected):
    drop(settings, *there)
    record_arrivals(Store(settings.output), list(ranks))
    registry = Registered(list(names))
    found = look(GRAPH, settings, registry)
    parts = found.shards, found.unranked, found.unregistered, found.removed
    assert tuple("".join(part) for part in parts) == expected
    take_in(settings, registry)
    again = look(GRAPH, settings, registry)
    assert again.shards == tuple(sorted(found.shards, key=again.shards.index))
    assert (again.unranked, again.unregistered, again.removed) == ((), (), ())
    assert set(registry.names) == set(there)


def test_a_shard_of_which_only_the_output_knows_is_let_go_of(settings):
    drop(settings, "a")
    Ledger(Store(settings.output)).write(GRAPH.stages[0].name, "b", Entry("f", "v"))
    assert look(GRAPH, settings, Registered()).removed == ("b",)
    take_in(settings, Registered())
    assert look(GRAPH, settings, Registered()).removed == ()


def test_an_empty_source_lets_go_of_nothing(settings):
    registry = Registered(["a"])
    take_in(settings, registry)
    assert registry.names == ["a"]
    found = look(GRAPH, settings, registry)
    assert (found.removed, found.gone) == ((), ("a",))
    with pytest.raises(RemovalsHeldBackError, match="1 known shards are gone: a"):
        require_usable(found, settings)


def vouch(settings, *shards) -> None:
    state = {"shards": [[shard, "v"] for shard in shards]}
    Ledger(Store(settings.output)).write(GRAPH.order.name, None, Entry("f", "v", state=state))


def test_ranks_that_are_lost_are_rebuilt_from_what_was_made_by_them(settings):
    drop(settings, *"abcd")
    vouch(settings, "c", "a", "b")
    take_in(settings, Registered(list("abc")))
    assert list(read_arrivals(Store(settings.output))) == ["c", "a", "b", "d"]


@pytest.mark.parametrize("ranks", ["ca", "abc", "b"])
def test_ranks_that_are_lost_in_part_stop_the_refresh(settings, ranks):
    drop(settings, *"abc")
    vouch(settings, "c", "a", "b")
    record_arrivals(Store(settings.output), list(ranks))
    with pytest.raises(LostArrivalsError, match="restore the folder, or delete the whole of it"):
        look(GRAPH, settings, Registered(list("abc")))


def test_single_assets_work_by_no_order_that_contradicts_what_was_made(settings):
    vouch(settings, "c", "a", "b")
    registry = Registered(list("abc"))
    assert known_shards(GRAPH, settings, registry) == ("c", "a", "b")
    shutil.rmtree(f"{settings.output}/arrivals")
    record_arrivals(Store(settings.output), ["a"])
    with pytest.raises(LostArrivalsError):
        known_shards(GRAPH, settings, registry)


def test_what_a_killed_write_left_is_no_entry(settings):
    drop(settings, "a")
    name = GRAPH.stages[0].name
    Ledger(Store(settings.output)).write(name, "a", Entry("f", "v"))
    (Path(settings.output) / f"ledger/{name}/.b.json.host.1.partial").write_text("{")
    assert look(GRAPH, settings, Registered()).held == {"a"}


@pytest.mark.parametrize("state", [{}, {"shards": 3}, {"shards": [1, [], None]}, {"shards": "ab"}])
def test_an_order_that_can_not_be_read_vouches_for_nothing(settings, state):
    drop(settings, *"ab")
    Ledger(Store(settings.output)).write(GRAPH.order.name, None, Entry("f", "v", state=state))
    assert look(GRAPH, settings, Registered()).shards == ("a", "b")


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[::40]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, photos) -> Path:
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(tmp_path_factory.mktemp("finished"), instance)
        for i, name in enumerate("ba"):
            members = [(f"{k}.jpg", photo) for k, photo in enumerate((photos[0], photos[i + 1]))]
            write_members(pipeline.folder / f"tars/{name}.tar", members)
            assert pipeline.refresh()
    assert pipeline.table("duplicates/groups.parquet")["id"].to_list() == ["a/0"]
    return pipeline.folder


@pytest.fixture
def refreshed(finished, tmp_path) -> Iterator[Pipeline]:
    with copied(finished, tmp_path / "project") as pipeline:
        assert pipeline.shards() == ["b", "a"]
        yield pipeline


def test_another_output_under_one_home_is_made_whole(refreshed):
    refreshed.changes["output"] = "elsewhere"
    assert refreshed.plan()["image_embeddings"].stale.keys() == {"a", "b"}
    assert refreshed.refresh()
    made = {path.name for path in (refreshed.folder / "elsewhere/shards").glob("*.tar")}
    assert made == {"a.tar", "b.tar"}


def test_an_output_that_was_deleted_is_made_again(refreshed):
    before = refreshed.output_bytes()
    shutil.rmtree(refreshed.folder / "curated")
    assert refreshed.plan()["image_embeddings"].stale.keys() == {"a", "b"}
    assert refreshed.refresh()
    assert refreshed.output_bytes().keys() == before.keys()


def test_another_home_finds_everything_fresh(refreshed):
    before = refreshed.output_bytes()
    with dg.DagsterInstance.ephemeral() as instance:
        moved = Pipeline(refreshed.folder, instance)
        assert moved.refresh()
        assert moved.shards() == ["b", "a"]
    assert refreshed.output_bytes() == before


def test_lost_arrivals_leave_no_shard_out_and_change_no_result(refreshed):
    before = refreshed.output_bytes()
    shutil.rmtree(refreshed.folder / "curated/arrivals")
    with dg.DagsterInstance.ephemeral() as instance:
        moved = Pipeline(refreshed.folder, instance)
        assert moved.refresh()
        assert moved.shards() == ["b", "a"]
    assert refreshed.output_bytes() == before


def test_arrivals_lost_in_part_stop_the_refresh_by_name(refreshed):
    shutil.rmtree(refreshed.folder / "curated/arrivals")
    record_arrivals(refreshed.store, ["a"])
    assert not refreshed.refresh()


def test_an_output_of_an_older_format_is_named_and_made_again(refreshed, capsys):
    before = refreshed.output_bytes()
    for path in (refreshed.folder / "curated/ledger").rglob("*.entry"):
        path.unlink()
        path.with_suffix("").with_suffix(".json").write_text(
            '{"fingerprint": "f", "files": {"embeddings/a.parquet": 7}}\n{}\n'
        )
    intake, work = planned(refreshed.instance, refreshed.settings)
    print_plan(plan(GRAPH.stages, work), intake, work)
    assert "2 shards of the output" in capsys.readouterr().out
    assert refreshed.plan()["image_embeddings"].stale == {"b": "never made", "a": "never made"}
    assert refreshed.refresh()
    assert refreshed.output_bytes() == before


@pytest.mark.parametrize("name", [b"caf\xe9", b" outer spaces ", b"plain"])
def test_a_source_of_any_name_is_known_again(tmp_path, name):
    source = tmp_path / os.fsdecode(name)
    source.mkdir()
    settings = Settings(source=str(source), output=str(tmp_path / "out"))
    drop(settings, "a", "b")
    registry = Registered()
    found = look(GRAPH, settings, registry)
    let_go(found, GRAPH, settings, registry)
    register(found, settings, registry)
    assert why_other_source(settings) is None
    (source / "a.tar").unlink()
    again = look(GRAPH, settings, registry)
    assert (again.held_back, again.removed) == (None, ("a",))
    other = settings.model_copy(update={"source": str(tmp_path / "other")})
    assert "it names another source" in why_other_source(other)
