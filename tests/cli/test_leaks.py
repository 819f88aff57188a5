"""No secret of a location, and nothing that a terminal would run, reaches anyone."""

from typing import ClassVar

import fsspec
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from pipeline import MODEL

USER, PASSWORD, TOKEN = "AKIAUSERNAME", "pa55/w0rd+x", "t0k3nt0k3n"
URL = f"https://signed.example/x?X-Amz-Signature={TOKEN}#p"


class AccountFileSystem(MemoryFileSystem):
    """Files in memory, with paths that hold the user and the password, as those of s3fs do."""

    protocol = "account"
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("account://").strip("/") if path.strip("/") else ""

    def unstrip_protocol(self, name):
        return f"account:/{name}"

    def cat_file(self, path, start=None, end=None, **kwargs):
        if "broken" in path and end is not None and end - start > 512:  # read as a tar is
            raise PermissionError(
                f"403 Forbidden: {path}, signed by {USER} with {PASSWORD}, see {URL}"
            )
        return super().cat_file(path, start, end, **kwargs)


@pytest.fixture
def project(here, sample_tars):
    """A project whose source and output are URIs with a user, a password and a token."""
    fsspec.register_implementation("account", AccountFileSystem, clobber=True)
    AccountFileSystem.store.clear()
    base = f"account://{USER}:{PASSWORD}@host"
    fs = AccountFileSystem()
    for path in sorted(sample_tars.rglob("*.tar"))[:2]:
        fs.pipe_file(f"{base}/tars/{path.stem}.tar", path.read_bytes())
    fs.pipe_file(f"{base}/tars/broken.tar", bytes(20480))
    settings = {
        "source": f"{base}/tars",
        "output": f"{base}/curated",
        "model": MODEL,
        "clusters": {"n_clusters": 4, "n_cell_groups": 2},
    }
    (here / "curator.yaml").write_text(yaml.safe_dump(settings))
    return here


def test_no_secret_of_a_location_is_in_any_file_or_line(project, run, caplog):
    commands = [
        ["check"],
        ["plan"],
        ["refresh"],
        ["explain", "00000/000024x"],
        ["explain", "broken/x", "--debug"],
    ]
    results = [run(*command) for command in commands]
    assert [result.exit_code for result in results] == [0, 0, 1, 0, 2]
    told = "".join(result.output for result in results)
    assert "403 Forbidden: /***@host/tars/broken.tar, signed by ***" in told
    assert "account://***@host/curated/report/index.html" in told
    written = {name: file.getvalue() for name, file in AccountFileSystem.store.items()}
    assert any(name.endswith("/curated/source.txt") for name in written)
    instance = [path for path in (project / ".dagster").rglob("*") if path.is_file()]
    written |= {str(path): path.read_bytes() for path in instance}
    written |= {"printed": told.encode(), "logged": caplog.text.encode()}
    assert any(b"403 Forbidden" in data for name, data in written.items() if ".dagster" in name)
    secrets = [secret.encode() for secret in (USER, PASSWORD, TOKEN)]
    assert [name for name, data in written.items() if any(s in data for s in secrets)] == []
