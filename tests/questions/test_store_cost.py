import pytest

from curator_assets.questions.store_cost import (
    OBJECTS_A_SHARD,
    REQUESTS_A_REFRESH,
    REQUESTS_A_SHARD,
    store_cost,
)
from curator_assets.storage.bucket.pace import Pace, ReadPace

OUTPUT = Pace(
    get_seconds=0.01,
    down_bytes_per_second=1e6,
    put_seconds=0.03,
    delete_seconds=1.0,
    up_bytes_per_second=2e6,
)


def test_requests_go_by_shards_and_time_by_requests_and_bytes():
    source = ReadPace(get_seconds=0.5, down_bytes_per_second=4e6)
    cost = store_cost(2000, 1000, 10_000_000, 6_000_000, OUTPUT, source)
    assert cost.n_idle_requests == REQUESTS_A_REFRESH + 2 * OBJECTS_A_SHARD
    assert cost.n_requests == 1000 * REQUESTS_A_SHARD + cost.n_idle_requests
    assert (cost.up_bytes, cost.down_bytes) == (6_000_000, 20_000_000)
    assert cost.seconds == pytest.approx(cost.n_requests * 0.02 + 3 + 5)


def test_tars_of_this_machine_cost_no_requests_for_their_bytes():
    cost = store_cost(1, 1, 10_000_000, 0, OUTPUT, None)
    assert cost.down_bytes == 0
    assert cost.seconds == pytest.approx(cost.n_requests * 0.02)
    assert store_cost(0, 0, 0, 0, OUTPUT, None).n_requests == REQUESTS_A_REFRESH
