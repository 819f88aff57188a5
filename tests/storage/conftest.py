from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from curator_assets.storage.store import Store


@pytest.fixture(autouse=True)
def _files_in_memory_are_whole(monkeypatch):
    """Objects of a bucket are there once they are; of this filesystem a reader sees them grow."""

    def put_file(self, local, path, **_):
        self.pipe_file(path, Path(local).read_bytes())

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)


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
