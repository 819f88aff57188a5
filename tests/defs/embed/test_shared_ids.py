"""Two shards that share an image id are not curated; all others are, whatever came first."""

import shutil

import pyarrow as pa
import pytest
from tar_files import write_members

from curator_assets.defs.embed import shared_ids
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import write_table

pytestmark = pytest.mark.usefixtures("without_charts")

SCHEMA = pa.schema([pa.field("key", pa.string(), nullable=False)])


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Shards of these keys -> those that share an id, and the tables that were read to tell."""
    read, keys_of = list[str](), shared_ids._keys

    def read_keys(store, shard):
        read.append(shard)
        return keys_of(store, shard)

    def find(**shards):
        read.clear()
        store = Store(str(tmp_path))
        names = {name.replace("_", "/"): keys for name, keys in shards.items()}
        for name, keys in names.items():
            write_table(store, layout.embeddings(name), pa.table({"key": keys}, SCHEMA), SCHEMA)
        return shared_ids._find(store, names), list(read)

    monkeypatch.setattr(shared_ids, "_keys", read_keys)
    return find


def test_an_id_of_two_shards_is_found_and_both_are_named(shared):
    found, _ = shared(a=["b/c", "d"], a_b=["c", "e"], x=["b/c"])
    assert found.keys() == {"a", "a/b"}
    for told in found.values():
        assert "'a' and 'a/b'" in told
        assert "'a/b/c'" in told


def test_folders_of_any_depth_and_several_at_once(shared):
    found, _ = shared(a=["b/c/d", "e/f"], a_b_c=["d"], a_e=["f"], a_b=["x"])
    assert found.keys() == {"a", "a/b/c", "a/e"}


def test_names_that_only_begin_alike_share_nothing(shared):
    found, read = shared(a=["b/c"], ab=["c"], a_b=["d"], a_bc=["c"])
    assert found == {}
    assert set(read) == {"a", "a/b"}


def test_only_shards_that_may_share_an_id_are_read(shared):
    assert shared(a=["b/c"], x_y=["c"], x_z=["c"])[1] == []
    found, read = shared(a=["k"], a_b=["c"], a_c=["c"], x=["k"])
    assert found == {}
    assert read == ["a"]


@pytest.fixture
def photos(shared_data):
    return [p.read_bytes() for p in sorted((shared_data / "flowers/daisy").glob("*.jpg"))[:4]]


def test_those_two_fail_by_name_and_the_others_are_made(pipeline, photos, capfd):
    tars = pipeline.folder / "tars"
    write_members(tars / "a.tar", [("b/c.jpg", photos[0]), ("d.jpg", photos[1])])
    write_members(tars / "a/b.tar", [("c.jpg", photos[2])])
    write_members(tars / "z.tar", [("c.jpg", photos[0]), ("e.jpg", photos[3])])
    assert not pipeline.refresh()
    assert set(pipeline.output_bytes()) == {"z.tar", "z.parquet"}
    assert pipeline.table("shards/z.parquet")["verdict"].to_list() == ["kept", "kept"]
    first = pipeline.output_bytes()
    assert not pipeline.refresh(force=True)
    assert "refresh: 2 partition(s) could not be made" in capfd.readouterr().err
    assert pipeline.output_bytes() == first
    assert "'a' and 'a/b' both hold" in pipeline.plan()["filter_scores"].undecided["a"]
    embedded = pipeline.ledger.read("image_embeddings", "a")
    (tars / "a/b.tar").rename(tars / "b.tar")
    assert pipeline.refresh()
    assert pipeline.ledger.read("image_embeddings", "a") == embedded
    assert set(pipeline.output_bytes()) >= {"a.tar", "b.tar", "z.parquet"}
    assert pipeline.table("shards/*.parquet")["verdict"].to_list().count("duplicate") == 1


def test_a_second_tar_that_comes_later_gives_the_others_what_a_fresh_run_gives(pipeline, photos):
    tars = pipeline.folder / "tars"
    write_members(tars / "a.tar", [("b/c.jpg", photos[0]), ("d.jpg", photos[1])])
    write_members(tars / "z.tar", [("c.jpg", photos[0]), ("e.jpg", photos[3])])
    assert pipeline.refresh()
    before = pipeline.output_bytes()
    assert {"a.tar", "z.tar"} <= before.keys()
    write_members(tars / "a/b.tar", [("c.jpg", photos[2])])
    assert not pipeline.refresh()
    after = pipeline.output_bytes()
    assert (after["a.tar"], after["a.parquet"]) == (before["a.tar"], before["a.parquet"])
    assert not any(name.startswith("a/b") for name in after)
    shutil.rmtree(pipeline.folder / "curated")
    assert not pipeline.refresh()
    fresh = pipeline.output_bytes()
    assert fresh == {name: data for name, data in after.items() if name.startswith("z.")}
