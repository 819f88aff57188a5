"""What a refresh costs in a bucket: requests, bytes and, one after another, time."""

from __future__ import annotations

from dataclasses import dataclass

from curator_assets.storage.bucket.pace import Pace, ReadPace

REQUESTS_A_SHARD = 70
"""Of a first refresh of small shards, to source and output together (docs/object_storage.md)."""

REQUESTS_A_REFRESH = 70
"""Of one with nothing to do, beside its listings."""

OBJECTS_A_SHARD = 17
"""Below the output, that a refresh lists."""

LISTED_AT_ONCE = 1000

TAR_READS = 2
"""So often a tar is read: to be embedded, and for the curated one."""


@dataclass(frozen=True)
class Cost:
    """Of a refresh.

    Attributes:
        n_requests: to make what is left.
        n_idle_requests: of a later refresh with nothing to do.
        up_bytes: written to the output.
        down_bytes: read from the source.
        seconds: of all that, were it one after another; what is embedded meanwhile costs the same
            time again or hides it.
    """

    n_requests: int
    n_idle_requests: int
    up_bytes: int
    down_bytes: int
    seconds: float


def store_cost(
    n_shards: int,
    n_left: int,
    left_bytes: int,
    up_bytes: int,
    output: Pace,
    source: ReadPace | None,
) -> Cost:
    """Requests go by shards, and time by requests and bytes.

    `70 * left + 70 + listings` requests, each as long as a small put and get on average, and the
    bytes at the rates that were measured; `ceil(17 * shards / 1000)` listings.

    Args:
        n_shards: in the source.
        n_left: of them not curated yet.
        left_bytes: of their tars.
        up_bytes: that will be written at most.
        output: as measured.
        source: as measured; None if it lies on this machine.
    """
    n_idle = REQUESTS_A_REFRESH + -(-OBJECTS_A_SHARD * n_shards // LISTED_AT_ONCE)
    n_requests = REQUESTS_A_SHARD * n_left + n_idle
    down_bytes = TAR_READS * left_bytes if source else 0
    seconds = n_requests * (output.put_seconds + output.get_seconds) / 2
    seconds += up_bytes / output.up_bytes_per_second
    seconds += down_bytes / source.down_bytes_per_second if source else 0
    return Cost(n_requests, n_idle, up_bytes, down_bytes, seconds)
