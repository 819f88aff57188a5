import os

import pyarrow as pa
import pytest
from tar_files import write_members

from curator_assets.storage import layout
from curator_assets.storage.calibration import (
    ChangedTarError,
    ChosenImage,
    choose_samples,
    read_chosen,
)
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_versions import read_version, record_version
from curator_assets.storage.shards.tars import content_hash
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import write_table

N = 150
IMAGES = [f"image {i}".encode() for i in range(N)]
CHOSEN = [ChosenImage(i, f"a/{i:03d}", content_hash(IMAGES[i])) for i in range(0, N, 2)]


def write_tar(tmp_path, images) -> None:
    members = [(f"{i:03d}.jpg", data) for i, data in enumerate(images)]
    write_members(tmp_path / "tars" / "a.tar", members)


def look_at(tars: Source, store: Store) -> None:
    """As embedding does: what the tar holds now is recorded."""
    ledger, signature = Ledger(store), tars.signature("a")
    _, content = read_version(ledger, layout.TAR_SHARDS, tars, "a")
    if content is not None:
        record_version(store, ledger, layout.TAR_SHARDS, "a", signature, content)


@pytest.fixture
def embedded(tmp_path):
    write_tar(tmp_path, IMAGES)
    tars, store = Source(str(tmp_path / "tars")), Store(str(tmp_path / "out"))
    look_at(tars, store)
    return tars, store


def test_chosen_images_come_in_their_order(embedded):
    expected = [(image.image_id, IMAGES[image.position]) for image in CHOSEN]
    assert list(read_chosen(*embedded, "a", CHOSEN)) == expected
    assert list(read_chosen(*embedded, "a", [])) == []


def test_a_tar_that_was_replaced_or_touched_is_refused(embedded, tmp_path):
    os.utime(tmp_path / "tars" / "a.tar")
    with pytest.raises(ChangedTarError, match=r"shard 'a' has changed .* or was touched"):
        next(read_chosen(*embedded, "a", CHOSEN))
    tars, store = embedded
    look_at(tars, store)
    assert len(list(read_chosen(*embedded, "a", CHOSEN))) == len(CHOSEN)


def test_a_tar_that_was_replaced_and_read_again_but_not_embedded_is_refused(embedded, tmp_path):
    tars, store = embedded
    write_tar(tmp_path, IMAGES[::-1])
    look_at(tars, store)
    with pytest.raises(ChangedTarError):
        next(read_chosen(tars, store, "a", CHOSEN))
    write_tar(tmp_path, IMAGES[:-2])
    look_at(tars, store)
    with pytest.raises(ChangedTarError):
        list(read_chosen(tars, store, "a", CHOSEN))


def test_a_tar_that_is_gone_is_named(embedded, tmp_path):
    (tmp_path / "tars" / "a.tar").unlink()
    with pytest.raises(FileNotFoundError, match="shard 'a': no tar at"):
        next(read_chosen(*embedded, "a", CHOSEN))


def test_readable_images_are_chosen_by_seed(tmp_path):
    store, n = Store(str(tmp_path)), 6
    schema = schemas.embeddings(2, "float32")
    columns = {
        "image_id": [f"a/{i}" for i in range(n)],
        "position": range(n),
        "content_hash": [f"hash {i}" for i in range(n)],
        "error": [None, "truncated", None, None, "empty", None],
    }
    empty = {"shard": "a", "key": "", "ext": "jpg", "n_images": 1, "n_bytes": 0}
    table = pa.table(
        {
            name: pa.array(columns[name], schema.field(name).type)
            if name in columns
            else pa.array([empty.get(name)] * n, schema.field(name).type)
            for name in schema.names
        }
    )
    write_table(store, layout.embeddings("a"), table, schema)
    everything = choose_samples(store, ["a"], n_images=9, seed=0)
    assert everything == {"a": [ChosenImage(i, f"a/{i}", f"hash {i}") for i in (0, 2, 3, 5)]}
    some = choose_samples(store, ["a"], n_images=2, seed=1)["a"]
    assert len(some) == 2
    assert sorted(some) == some == choose_samples(store, ["a"], n_images=2, seed=1)["a"]
