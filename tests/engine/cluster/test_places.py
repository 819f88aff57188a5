"""How large a worker is, and how many of them there are."""

import pytest

from curator_assets.engine.cluster.places import (
    Machine,
    NoPlaceError,
    WorkerSize,
    machines_of,
    memory_fraction,
    worker_size,
)
from curator_assets.settings import RayClusterSettings

HEAD = Machine("head", 0, 0)
SMALL, LARGE = Machine("small", 4, 0), Machine("large", 10, 0)
GPUS = Machine("gpus", 32, 8)


@pytest.mark.parametrize(
    ("settings", "machines", "embeds_on_gpu", "size", "n"),
    [
        ({}, [HEAD, SMALL, LARGE], False, WorkerSize(4, 0), [0, 1, 2]),
        ({"worker_cpus": 3}, [HEAD, SMALL, LARGE], False, WorkerSize(3, 0), [0, 1, 3]),
        ({}, [HEAD, SMALL, GPUS], True, WorkerSize(4, 1), [0, 0, 8]),
        ({"worker_cpus": 8}, [GPUS], True, WorkerSize(8, 1), [4]),
        ({"worker_gpus": 0.5}, [GPUS], True, WorkerSize(2, 0.5), [16]),
        ({"worker_gpus": 0.3, "worker_cpus": 1}, [GPUS], True, WorkerSize(1, 0.3), [24]),
        ({"worker_gpus": 2}, [GPUS], True, WorkerSize(8, 2), [4]),
        ({"worker_gpus": 0}, [GPUS], True, WorkerSize(32, 0), [1]),
    ],
)
def test_the_machines_hold_so_many_workers(settings, machines, embeds_on_gpu, size, n):
    found = worker_size(RayClusterSettings(**settings), machines, embeds_on_gpu=embeds_on_gpu)
    assert found == size
    assert [size.n_on(machine) for machine in machines] == n
    assert memory_fraction(size, machines) == 1 / max(n)


@pytest.mark.parametrize(
    ("settings", "machines", "embeds_on_gpu", "told"),
    [
        ({}, [], False, "1 CPU core .there is none"),
        (
            {"worker_cpus": 16},
            [HEAD, LARGE],
            False,
            "16 CPU cores .head: 0 CPUs, 0 GPUs; large",
        ),
        ({}, [LARGE], True, "1 CPU core and 1 GPU .large: 10 CPUs, 0 GPUs"),
    ],
)
def test_where_none_can_be_it_is_said_what_there_is(settings, machines, embeds_on_gpu, told):
    with pytest.raises(NoPlaceError, match=told):
        worker_size(RayClusterSettings(**settings), machines, embeds_on_gpu=embeds_on_gpu)


def test_only_machines_that_live_count():
    nodes = [
        {"NodeManagerAddress": "a", "Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}},
        {"NodeManagerAddress": "b", "Alive": False, "Resources": {}},
        {"NodeManagerAddress": "c", "Alive": True, "Resources": {"memory": 1.0}},
    ]
    assert machines_of(nodes) == [Machine("a", 2, 1), Machine("c", 0, 0)]
