r"""Shards as Dagster's partition keys, which hold no control character and no `...`.

Most shards are their own keys. In others what can't be in a key is written as it is shown on a
terminal (`part...final` is `part\x2e..final`), so that ranges, tags and the UI take them all.
"""

import re

from curator_assets.control_characters import escaped

_ESCAPE = r"(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})"
_READS_LIKE_ONE = re.compile(rf"\\(?={_ESCAPE})")
_ESCAPED = re.compile(rf"\\({_ESCAPE})")
_FIRST_OF_THREE_DOTS = re.compile(r"\.(?=\.\.)")
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}


def partition_key(shard: str) -> str:
    """The key of a shard's partition; no two shards share one."""
    return _FIRST_OF_THREE_DOTS.sub(r"\\x2e", escaped(_READS_LIKE_ONE.sub(r"\\x5c", shard)))


def shard_of(key: str) -> str:
    """The shard of a partition key."""
    return _ESCAPED.sub(lambda found: _SHORT.get(found[1]) or chr(int(found[1][1:], 16)), key)
