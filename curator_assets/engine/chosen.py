"""The shards that a person names: each by its name, or `first...last` in order of arrival."""

from __future__ import annotations

from collections.abc import Sequence

from curator_assets.errors import UserError, did_you_mean

_RANGE = "..."


class UnknownShardError(UserError):
    """A shard that is asked for is not there, or a range of shards runs backwards."""


def chosen_shards(words: Sequence[str], shards: Sequence[str]) -> set[str]:
    """The shards that some words mean.

    Args:
        words: names of shards, and ranges.
        shards: that there are, in order of arrival.

    Raises:
        UnknownShardError: says which word, and what comes close.
    """
    found = set[str]()
    for word in words:
        if word in shards or _RANGE not in word:
            found.add(shards[_place(word, shards)])
            continue
        first, last = _ends(word, shards)
        start, end = _place(first, shards), _place(last, shards)
        if start > end:
            raise UnknownShardError(
                f"the range {word!r} runs backwards: {last!r} arrived before {first!r}; expected "
                f"the earlier one first: {last}{_RANGE}{first}"
            )
        found.update(shards[start : end + 1])
    return found


def _ends(word: str, shards: Sequence[str]) -> tuple[str, str]:
    """The ends of a range; where names hold `...` too, those that are there."""
    cuts = [i for i in range(len(word)) if word.startswith(_RANGE, i)]
    ends = [(word[:i], word[i + len(_RANGE) :]) for i in cuts]
    known = [(first, last) for first, last in ends if first in shards and last in shards]
    return (known or ends)[0]


def _place(name: str, shards: Sequence[str]) -> int:
    try:
        return shards.index(name)
    except ValueError:
        such_as = f", such as {shards[0]!r}" if shards else ""
        known = did_you_mean(name, shards) or f"; {len(shards):,} are known{such_as}"
        raise UnknownShardError(
            f"no shard {name!r}: expected a tar's path below the source without .tar{known}"
        ) from None
