"""A Ray cluster whose machines are processes of this one, with folders and addresses of their own.

It is to be started where nothing but loopback is reached: Ray listens on more than it is told.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from held_ports import HeldPort

_MARK = "CURATOR_TEST_RAY_NODE"
_STORE_BYTES = 100 << 20
_SECONDS_TO_START = 90


class RayNode:
    """A machine of the cluster.

    Args:
        ip: an address of loopback that no other machine has.
        n_cpus: that it offers.
        head: `address:port` of the first machine; None for that one itself.
        port: that the first machine listens on.
        environment: variables of its processes.
    """

    def __init__(
        self, ip: str, n_cpus: int, head: str | None, port: int, environment: Mapping[str, str]
    ) -> None:
        self.ip = ip
        self._folder = Path(tempfile.mkdtemp(prefix="r"))  # names of sockets are short
        for name in ("home", "tmp", "cache"):
            (self._folder / name).mkdir()
        self._environment = {
            **environment,
            "HOME": str(self._folder / "home"),
            "TMPDIR": str(self._folder / "tmp"),
            "XDG_CACHE_HOME": str(self._folder / "cache"),
            _MARK: str(self._folder),
        }
        where = [f"--address={head}"]
        if head is None:
            where = ["--head", f"--port={port}", "--include-dashboard=false"]
        command = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            *where,
            f"--node-ip-address={ip}",
            f"--num-cpus={n_cpus}",
            "--num-gpus=0",
            f"--object-store-memory={_STORE_BYTES}",
            f"--temp-dir={self._folder / 'ray'}",
            "--include-log-monitor=false",
            "--disable-usage-stats",
            "--block",
        ]
        self._log = (self._folder / "told.txt").open("wb")
        self._process = subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def told(self) -> str:
        """What its start printed."""
        return (self._folder / "told.txt").read_text()

    def wait_until_up(self) -> None:
        """Return once it takes part."""
        deadline = time.monotonic() + _SECONDS_TO_START
        while "Ray runtime started" not in self.told:
            assert self._process.poll() is None, self.told
            assert time.monotonic() < deadline, self.told
            time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        """All that run on it."""
        found = list[psutil.Process]()
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == str(self._folder):
                    found.append(process)
        return found

    def actors(self) -> list[psutil.Process]:
        """Its actors' processes."""
        found = list[psutil.Process]()
        for process in self.processes():
            with suppress(psutil.Error):
                if any(word.startswith("ray::Actor") for word in process.cmdline()):
                    found.append(process)
        return found

    def kill(self) -> None:
        """End it as a power cut does."""
        while running := self.processes():
            for process in running:
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            time.sleep(0.05)
        self._process.wait()

    def close(self) -> None:
        """End it, and leave nothing of it."""
        self.kill()
        self._log.close()
        shutil.rmtree(self._folder)


class RayMachines:
    """A first machine, which offers nothing, and others.

    Args:
        environment: variables of their processes, such as an object server's.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._port = HeldPort()
        self.environment = {
            **os.environ,
            **environment,
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
        }
        self.nodes = list[RayNode]()
        self._n_started = 0
        self._head = self._node(0, None)
        self._head.wait_until_up()

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self._head.ip}:{self._port.number}"

    def join(self, n_cpus: int = 1, path: Path | None = None) -> RayNode:
        """One machine more; it takes part some seconds later.

        Args:
            n_cpus: that it offers.
            path: where its Python looks for packages first.
        """
        node = self._node(n_cpus, self.address, path)
        self.nodes.append(node)
        return node

    def lose(self, node: RayNode) -> None:
        """Have a machine end as by a power cut."""
        self.nodes.remove(node)
        node.close()

    def actors(self) -> list[psutil.Process]:
        """The processes of the actors on all of them."""
        return [process for node in self.nodes for process in node.actors()]

    def _node(self, n_cpus: int, head: str | None, path: Path | None = None) -> RayNode:
        self._n_started += 1
        ip = f"127.0.0.{self._n_started}"
        paths = [str(path)] * bool(path) + list(filter(None, sys.path))
        environment = self.environment | {"PYTHONPATH": os.pathsep.join(paths)}
        return RayNode(ip, n_cpus, head, self._port.number, environment)

    def close(self) -> None:
        """End all of them."""
        for node in [*self.nodes, self._head]:
            node.close()


@contextmanager
def ray_machines(environment: Mapping[str, str]) -> Iterator[RayMachines]:
    """A cluster of a first machine alone, which is ended with the block."""
    machines = RayMachines(environment)
    try:
        yield machines
    finally:
        machines.close()
