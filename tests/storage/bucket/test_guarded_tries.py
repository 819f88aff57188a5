"""A change that is tried again is one that the guard agrees to each time."""

from collections.abc import Callable

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from curator_assets.storage.bucket import interruption
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.lease import LeaseLostError


class Unanswered(MemoryFileSystem):
    """A store that does what it is told, and of which no answer to that arrives."""

    protocol, cachable = "unanswered", False

    def __init__(self) -> None:
        super().__init__()
        self.n_tried = 0

    def _lost(self, *_: object, **__: object) -> None:
        self.n_tried += 1
        raise OSError("the connection was lost")

    put_file = rm_file = cp_file = pipe_file = _lost


def write(bucket: Bucket) -> None:
    with bucket.write("a") as file:
        file.write(b"a")


@pytest.mark.parametrize(
    "change",
    [
        write,
        lambda bucket: bucket.remove("a"),
        lambda bucket: bucket.copy("a", "b"),
        lambda bucket: bucket.create("a", b"a"),
    ],
)
@pytest.mark.parametrize("n_agreed", [0, 1, 3])
def test_nothing_is_tried_again_after_another_has_taken_over(
    change: Callable[[Bucket], None], n_agreed: int, monkeypatch
):
    monkeypatch.setattr(interruption, "pause", lambda _: None)
    fs = Unanswered()

    def require() -> None:
        if fs.n_tried == n_agreed:
            raise LeaseLostError("another works on it")

    with pytest.raises(LeaseLostError):
        change(Bucket(fs, "/guarded", require))
    assert fs.n_tried == n_agreed
