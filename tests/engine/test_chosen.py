import pytest

from curator_assets.engine.chosen import UnknownShardError, chosen_shards

SHARDS = ["b/1", "b/2", "a/1", "a/2", "x...y"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["a/1"], {"a/1"}),
        (["b/2...a/2"], {"b/2", "a/1", "a/2"}),
        (["a/1...a/1", "b/1"], {"a/1", "b/1"}),
        (["x...y"], {"x...y"}),
        (["a/1...x...y"], {"a/1", "a/2", "x...y"}),
        (["x...y...x...y"], {"x...y"}),
    ],
)
def test_names_and_ranges_in_order_of_arrival(words, found):
    assert chosen_shards(words, SHARDS) == found


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("a/3", "no shard 'a/3'.* did you mean '(a/2|a/1)'"),
        ("b/1...zzz", "no shard 'zzz'.*; 5 are known, such as 'b/1'"),
        ("...", "no shard ''"),
        ("a/2...b/1", "runs backwards: 'b/1' arrived before 'a/2'.*: b/1...a/2"),
    ],
)
def test_what_is_not_there_and_what_runs_backwards_is_named(word, says):
    with pytest.raises(UnknownShardError, match=says):
        chosen_shards([word], SHARDS)


def test_without_any_shard():
    with pytest.raises(UnknownShardError, match="no shard 'a'"):
        chosen_shards(["a"], [])
