import pytest

from curator_assets.storage.store import Store


@pytest.fixture(params=["local", "memory"])
def store(tmp_path, request):
    if request.param == "local":
        yield Store(str(tmp_path))
        return
    store = Store(f"memory://{tmp_path.name}")
    yield store
    if store.fs.exists(store.root):
        store.fs.rm(store.root, recursive=True)


def put(store: Store, name: str, data: bytes) -> None:
    with store.write(name) as file:
        file.write(data)
