"""A Ray cluster as the engine uses it: reached when something is to be spread, left at the end."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from curator_assets.engine.allotment import n_cores
from curator_assets.engine.cluster.crew import Crew
from curator_assets.engine.cluster.machine_state import state_of
from curator_assets.engine.cluster.places import (
    Machine,
    WorkerSize,
    machines_of,
    worker_size,
)
from curator_assets.engine.cluster.spreading import Nothing, Spreading
from curator_assets.engine.encoder import Encoder
from curator_assets.engine.making import finished
from curator_assets.engine.partitioning import ALL, Partition, Partitioning
from curator_assets.engine.sent_work import SentWork
from curator_assets.engine.stage import Graph, Stage
from curator_assets.engine.work import Job, Work
from curator_assets.errors import UserError
from curator_assets.extras import require_installed
from curator_assets.kernels.ahead import ahead
from curator_assets.number_words import counted
from curator_assets.settings import Settings

_N_AHEAD = 1024
"""Outcomes that are heard before the driver records them."""

_LOCAL_STORE_BYTES = 128 << 20
"""Ray's own memory for what is passed around: nothing large is."""

_LOOPBACK = "127.0.0.1"
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


class ClusterError(UserError):
    """The cluster can't be reached."""


@contextmanager
def opened_cluster(
    graph: Graph, settings: Settings, log: logging.Logger
) -> Iterator[RayCluster | None]:
    """The cluster of the settings, which is left when the block ends; None without one."""
    if settings.cluster.ray is None:
        yield None
        return
    require_installed("ray", "ray")
    with closing(RayCluster(graph, settings, log)) as cluster:
        yield cluster


class RayCluster:
    """A cluster that is reached once it is needed.

    Args:
        graph: whose stages are made there.
        settings: in force.
        log: of the run.
    """

    def __init__(self, graph: Graph, settings: Settings, log: logging.Logger) -> None:
        self._graph, self._settings, self._log = graph, settings.cluster, log
        self._embeds_on_gpu = Encoder.of(settings).device_type() == "cuda"
        self._crew: Crew | None = None
        self._is_ours = False

    def spread(self, job: Job, work: Work, partitions: Sequence[Partition]) -> Iterator[Any]:
        """What a job gives of partitions, which all workers share; heard while it is recorded."""
        heard = ahead(self._spreading(job, work, partitions).outcomes(), _N_AHEAD, "cluster")
        with closing(heard):
            yield from (item for item in heard if not isinstance(item, Nothing))

    def alone(self, job: Job, work: Work) -> Iterator[Any]:
        """What a job gives that one worker does."""
        with closing(self._spreading(job, work, [ALL]).outcomes()) as heard:
            yield from (item for item in heard if not isinstance(item, Nothing))

    def made(self, stage: Stage, work: Work, partitions: Sequence[Partition]) -> Iterator[Any]:
        """What becomes of partitions of a stage."""
        if stage.by is Partitioning.CELL_GROUP:  # or each worker would open the entry of each shard
            work.write_snapshots()
        return self.spread(partial(_finished, graph=self._graph, name=stage.name), work, partitions)

    def where(self) -> str:
        """How many workers there are at the moment, in words."""
        return self._crew.where() if self._crew else ""

    def close(self) -> None:
        """Let go of the workers, and of the connection if it was made here."""
        if self._crew:
            self._crew.close()
        if self._is_ours:
            import ray

            ray.shutdown()
            self._is_ours = False

    def machines(self) -> str:
        """What there is, in words.

        Raises:
            ClusterError: it can't be reached.
            NoPlaceError: it holds no worker.
        """
        machines, size = self._found()
        n = sum(size.n_on(machine) for machine in machines)
        return f"{counted(len(machines), 'machine')}, {counted(n, 'worker')} of {size}"

    def _spreading(self, job: Job, work: Work, partitions: Sequence[Partition]) -> Spreading:
        sent = SentWork.of(work)
        if self._crew is None:
            self._crew = self._new_crew(work, sent)
        import ray

        return Spreading(self._crew, ray.put(job), ray.put(sent), work, partitions)

    def _new_crew(self, work: Work, sent: SentWork) -> Crew:
        _, size = self._found()
        self._log.info("each worker of the cluster has %s", size)
        brief = replace(sent, shards=(), n_bytes={}, absent=frozenset())
        return Crew(size, state_of(work, sent.held), brief, self._log)

    def _found(self) -> tuple[list[Machine], WorkerSize]:
        """The machines of the cluster, and the size of a worker there."""
        self._connect()
        import ray

        machines = machines_of(ray.nodes())
        size = worker_size(self._settings, machines, embeds_on_gpu=self._embeds_on_gpu)
        return machines, size

    def _connect(self) -> None:
        """Reach the cluster, or start one of this machine.

        Raises:
            ClusterError: it can't be reached.
        """
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import ray

        if ray.is_initialized():  # by who runs Dagster, or before
            return
        logging.getLogger("ray").setLevel(logging.ERROR)
        address, local = self._settings.ray, dict[str, Any]()
        if address == "local":
            local = {
                "num_cpus": n_cores(),
                "object_store_memory": _LOCAL_STORE_BYTES,
                "include_dashboard": False,
                "_node_ip_address": _LOOPBACK,
            }
        if (address or "").startswith("ray://"):
            raise ClusterError(
                f"cluster.ray is {address!r}, the address of Ray's client; expected auto or the "
                "`address:port` of the head, on a machine of the cluster"
            )
        at_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            context = ray.init(
                address=address, log_to_driver=False, logging_level=logging.ERROR, **local
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(
                f"the Ray cluster {address!r} can't be reached ({error}): start one "
                "with `ray start --head` on its first machine and `ray start --address=...` on the "
                "others, or correct cluster.ray: auto, local, or the address of its head"
            ) from error
        finally:  # Ray would exit at once, instead of who runs this
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, at_sigterm)
        self._is_ours = True
        dashboard = f", dashboard http://{context.dashboard_url}" if context.dashboard_url else ""
        self._log.info("Ray cluster %s%s", context.address_info["gcs_address"], dashboard)


def _finished(
    work: Work, partitions: Iterator[Partition], *, graph: Graph, name: str
) -> Iterator[Any]:
    """On a machine of the cluster: what becomes of partitions of a stage."""
    return finished(graph.stage(name), partitions, work)
