import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curator_assets.engine.dagster.partition_keys import partition_key, shard_of

NOT_IN_A_KEY = ["...", "\a", "\b", "\f", "\n", "\r", "\t", "\v", "\0"]


@given(st.text() | st.text("\\\\.nx2eu0\n\a", max_size=12))
@example("part...final")
@example("....")
@example("\\x2e..")
@example("\\\n")
@example("\udc80")
def test_every_shard_has_a_key_of_its_own_that_dagster_takes(shard):
    key = partition_key(shard)
    assert not [part for part in NOT_IN_A_KEY if part in key]
    key.encode()
    assert shard_of(key) == shard
    assert partition_key(shard_of(key)) == key


PLAIN = ["a/00001", "a|b", "a[0-9]*?", " a ", "50%20#:", "a..b", "c\\d", "é"]


@pytest.mark.parametrize("shard", PLAIN)
def test_most_shards_are_their_own_keys(shard):
    assert partition_key(shard) == shard


def test_what_the_others_look_like():
    assert partition_key("part...final") == r"part\x2e..final"
    assert partition_key("a\x1b\n") == r"a\x1b\n"
