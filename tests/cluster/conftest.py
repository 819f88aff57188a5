import pytest
from cluster.host import Host
from cluster.places import ARITHMETIC, Place, Undisturbed, assert_made, filled, results
from object_server import ObjectServer

from curator_assets.demo.samples import make_shards


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    make_shards(folder / "tars", n_samples=30, seed=0)
    tars, output = folder / "tars", folder / "curated"
    assert_made(Host(folder / "host", str(tars), str(output)).run("refresh"))
    paths = [path for path in output.rglob("*") if path.is_file()]
    found = {str(path.relative_to(output)): path.read_bytes() for path in paths}
    return Undisturbed(tars, results(found, str(tars), str(output)), output / ARITHMETIC)


@pytest.fixture
def place(object_store: ObjectServer, undisturbed: Undisturbed, request) -> Place:
    return filled(object_store, undisturbed, request.node.name)
