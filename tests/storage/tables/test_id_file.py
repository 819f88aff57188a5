import pyarrow as pa

from curator_assets.storage.scratch import Scratch
from curator_assets.storage.store import Store
from curator_assets.storage.tables.id_file import IdFile


def test_ids_are_found_by_shard_in_any_order(tmp_path):
    file = IdFile(Scratch(Store(str(tmp_path))))
    shards = {"a": [["a/1", "a/é"], ["a/3"]], "none": [[]], "b": [["b/" + "x" * 1000]]}
    for shard, chunks in shards.items():
        file.append(shard, pa.chunked_array(chunks, pa.string()))
    for shard in ("b", "a", "none", "a"):
        assert file.of(shard).to_pylist() == [name for part in shards[shard] for name in part]
    assert list(tmp_path.iterdir()) == []
