"""Names that are patterns to a shell or to fsspec are names like others, over whole refreshes."""

from collections.abc import Mapping

import pytest
from pattern_names import PATTERNS, States, assert_same, local, memory, states, tars


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Mapping[str, bytes]:
    return tars(tmp_path_factory.mktemp("tars"))


@pytest.fixture(scope="module")
def locally(named, tmp_path_factory) -> States:
    folder = tmp_path_factory.mktemp("local")
    return states(local(folder), named, folder)


def test_only_what_is_meant_goes_and_comes_back(locally):
    before, gone, after = locally.before, locally.gone, locally.after
    for name, other in PATTERNS.items():
        for of in ("embeddings/{}.parquet", "shards/{}.tar", "shards/{}.parquet"):
            assert gone[f"trash/{of.format(name)}"] == before[of.format(name)]
            assert of.format(name) not in gone
            assert f"trash/{of.format(other)}" not in gone
            assert gone[of.format(other)] == before[of.format(other)]
    assert not [name for name in after if name.startswith("trash/")]
    of_shards = ("embeddings/", "shards/", "scores/", "clusters/assignments/", "duplicates/ids/")
    made = {name: data for name, data in before.items() if name.startswith(of_shards)}
    assert made.items() <= after.items()


def test_a_bucket_holds_what_a_folder_holds(locally, named, tmp_path):
    assert_same(states(memory(tmp_path), named, tmp_path), locally)
