"""How large a worker is, and how many of them the machines of a cluster hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curator_assets.errors import UserError
from curator_assets.number_words import counted
from curator_assets.settings import RayClusterSettings


class NoPlaceError(UserError):
    """No machine of the cluster is large enough for a worker."""


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster, and what Ray may hand out of it.

    Attributes:
        name: its address.
    """

    name: str
    n_cpus: float
    n_gpus: float


@dataclass(frozen=True)
class WorkerSize:
    """What a worker is given of its machine."""

    n_cpus: int
    n_gpus: float

    def n_on(self, machine: Machine) -> int:
        """How many such workers a machine holds."""
        by_cpus = int(machine.n_cpus // self.n_cpus)
        if not self.n_gpus:
            return by_cpus
        # Ray hands out shares of one GPU, or several whole ones
        by_gpu = int(1 / self.n_gpus + 1e-9) if self.n_gpus < 1 else 1 / self.n_gpus
        return min(by_cpus, int(int(machine.n_gpus) * by_gpu))

    def __str__(self) -> str:
        gpus = f" and {self.n_gpus:g} GPU{'s' * (self.n_gpus > 1)}" if self.n_gpus else ""
        return f"{counted(self.n_cpus, 'CPU core')}{gpus}"


def worker_size(
    settings: RayClusterSettings, machines: Sequence[Machine], *, embeds_on_gpu: bool
) -> WorkerSize:
    """The size of a worker, by the settings or by the machines that there are.

    Raises:
        NoPlaceError: none of them holds one; says what they have.
    """
    n_cpus, n_gpus = settings.worker_cpus, settings.worker_gpus
    if n_gpus == "auto":
        n_gpus = 1.0 if embeds_on_gpu else 0.0
    if n_cpus == "auto":
        n_cpus = _fewest_cpus(machines, n_gpus)
    size = WorkerSize(n_cpus, n_gpus)
    if not any(size.n_on(machine) for machine in machines):
        there = "; ".join(f"{m.name}: {m.n_cpus:g} CPUs, {m.n_gpus:g} GPUs" for m in machines)
        raise NoPlaceError(
            f"no machine of the Ray cluster holds a worker of {size} ({there or 'there is none'}): "
            "lower cluster.worker_cpus or cluster.worker_gpus, or add such a machine"
        )
    return size


def _fewest_cpus(machines: Sequence[Machine], n_gpus: float) -> int:
    """What a worker has on the smallest machine that holds one, which shares its cores evenly."""
    alone = WorkerSize(1, n_gpus)
    shares = [m.n_cpus / (alone.n_on(m) if n_gpus else 1) for m in machines if alone.n_on(m)]
    return max(1, int(min(shares, default=1)))


def memory_fraction(size: WorkerSize, machines: Sequence[Machine]) -> float:
    """What a worker may take of the memory of whatever machine it comes to lie on."""
    return 1 / max(size.n_on(machine) for machine in machines)


def machines_of(nodes: Sequence[Mapping[str, object]]) -> list[Machine]:
    """The machines that live, of `ray.nodes()`."""
    found = list[Machine]()
    for node in nodes:
        resources = node["Resources"]
        if node["Alive"] and isinstance(resources, Mapping):
            n_cpus, n_gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
            found.append(Machine(str(node["NodeManagerAddress"]), n_cpus, n_gpus))
    return found
