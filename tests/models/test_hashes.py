import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from curator_assets.models.hashes import Hashes


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is opened."""
    paths, before = [], Path.open

    def count(path: Path, *args: object, **kwargs: object) -> object:
        paths.append(path)
        return before(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", count)
    return paths


def expected(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def test_a_file_is_read_once_in_this_process_and_the_next(tmp_path, opened):
    path = tmp_path / "a.pt"
    path.write_bytes(b"weights")
    opened.clear()
    hashes = Hashes()
    assert hashes.of(path) == hashes.of(path) == expected(b"weights")
    stored = json.loads(json.dumps(hashes.known))
    assert Hashes(stored).of(path) == expected(b"weights")
    assert len(opened) == 1
    assert hashes.known == stored


@pytest.mark.parametrize("change", ["size", "mtime"])
def test_a_file_that_changed_is_read_again(tmp_path, change):
    path = tmp_path / "a.pt"
    path.write_bytes(b"weights")
    hashes = Hashes()
    hashes.of(path)
    stat = path.stat()
    path.write_bytes(b"other weights" if change == "size" else b"WEIGHTS")
    later = stat.st_mtime_ns + (change == "mtime")
    os.utime(path, ns=(stat.st_atime_ns, later))
    assert hashes.of(path) == expected(path.read_bytes())


def test_a_link_that_leads_elsewhere_is_followed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(0, 0))
    link, hashes = tmp_path / "link", Hashes()
    for name in ("a", "b"):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / name)
        assert hashes.of(link) == expected(name.encode())


def test_an_entry_that_can_be_none_is_not_believed(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"weights")
    stat = path.stat()
    assert Hashes({str(path): [stat.st_size, stat.st_mtime_ns]}).of(path) == expected(b"weights")


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Hashes().of(tmp_path / "none")
