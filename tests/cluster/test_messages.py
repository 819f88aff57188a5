"""What a person reads when a store refuses: one paragraph with what to do, and no secret."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml
from cli.conftest import Curate, here, run  # noqa: F401
from held_ports import HeldPort
from object_server import OWNER, READER, Identity, ObjectServer
from pipeline import MODEL
from s3_client import client_of
from storage_proxy import StorageProxy, storage_proxy
from storage_requests import EXPIRED, FULL, INTERNAL, SKEWED, Reply, Request
from tar_files import write_members

from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.job import OP, refresh_job
from curator_assets.questions import readiness
from curator_assets.settings_file import load_settings

SECRET = "a-wrong-secret-of-somebody"
SOURCE, OUTPUT = "s3://images/tars", "s3://images/out"
ALL = ("plan", "refresh", "check")
WRITING = ("refresh", "check")
KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


@dataclass(frozen=True)
class Case:
    """What is wrong, and what the paragraph says.

    Attributes:
        words: of the paragraph.
        commands: that meet it.
        who: asks; None: nobody.
        fault: that the proxy plays to `requests`.
    """

    words: tuple[str, ...]
    commands: tuple[str, ...] = ALL
    who: Identity | None = OWNER
    source: str = SOURCE
    output: str = OUTPUT
    fault: Reply | None = None
    requests: str = ""
    is_away: bool = False


CASES = {
    "wrong secret": Case(
        ("s3://images/", "refuses", "does not know these credentials", "signature", KEYS),
        who=Identity("owner", SECRET, ()),
    ),
    "unknown key": Case(
        ("s3://images/", "refuses", "does not know these credentials", "does not exist", KEYS),
        who=Identity("nobody-known", SECRET, ()),
    ),
    "expired key": Case(("does not know these credentials", "expired"), fault=EXPIRED),
    "no key": Case(("no credentials were found", f"set {KEYS}"), who=None),
    "no bucket of the source": Case(
        ("s3://nowhere/tars", "no bucket of that name", "make it"), source="s3://nowhere/tars"
    ),
    "no bucket of the output": Case(
        ("s3://nowhere/out", "no bucket of that name", "make it"), output="s3://nowhere/out"
    ),
    "no right to write": Case(
        (f"output {OUTPUT}", "nothing can be written", "Access Denied", "rights to list"),
        WRITING,
        who=READER,
    ),
    "another clock": Case(("its clock and this machine's differ", "NTP"), fault=SKEWED),
    "a full store": Case(
        (f"output {OUTPUT}", "nothing can be written", "the store is full"),
        WRITING,
        fault=FULL,
        requests="PutObject",
    ),
    "a store that fails within": Case(
        (f"output {OUTPUT}", "nothing can be written", "disk is full"),
        WRITING,
        fault=INTERNAL,
        requests="PutObject",
    ),
    "a store that is away": Case(("s3://images/", "Could not connect"), is_away=True),
    "a key in the settings": Case(
        ("s3://***@images/tars", "holds a key before the '@'", KEYS),
        source=f"s3://owner:{SECRET}@images/tars",
    ),
}

NOBODY = HeldPort()
"""Where nothing listens."""


@pytest.fixture(scope="module")
def proxy(object_store: ObjectServer, tmp_path_factory) -> Iterator[StorageProxy]:
    tar = tmp_path_factory.mktemp("tars") / "a.tar"
    write_members(tar, [("0.txt", b"a")])
    object_store.client().put_object(Bucket="images", Key="tars/a.tar", Body=tar.read_bytes())
    with storage_proxy(object_store.port) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    """A store is given up after a second, and `check` looks at nothing but stores."""
    monkeypatch.setattr("curator_assets.storage.bucket.outage.PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr("curator_assets.cli.check.PATIENCE_SECONDS", 1.0)
    looks = {name: readiness.LOOKS[name] for name in ("source", "output")}
    monkeypatch.setattr("curator_assets.cli.check.LOOKS", looks)


def environment(case: Case, server: ObjectServer, proxy: StorageProxy) -> Mapping[str, str]:
    endpoint = f"http://127.0.0.1:{NOBODY.number}" if case.is_away else proxy.endpoint
    found = server.environment(case.who or READER, endpoint=endpoint)
    return {k: v for k, v in found.items() if case.who or "KEY" not in k}


def write_settings(folder: Path, case: Case) -> None:
    settings = {"source": case.source, "output": case.output, "model": MODEL}
    (folder / "curator.yaml").write_text(yaml.safe_dump(settings))


def paragraph(run: Curate, command: str) -> str:  # noqa: F811
    """What a command says that ends for want of something to be mended."""
    result = run(command)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert SECRET not in result.output
    if command == "check":
        failed = [line for line in result.output.splitlines() if "FAIL" in line]
        return failed[0].partition("FAIL")[2].strip()
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def assert_told(case: Case, run: Curate, proxy: StorageProxy) -> None:  # noqa: F811
    def when(request: Request) -> bool:
        return request.kind.startswith(case.requests)

    for command in case.commands:
        if case.fault is None:
            told = paragraph(run, command)
        else:
            with proxy.failing(case.fault, when):
                told = paragraph(run, command)
        for word in case.words:
            assert word in told, (command, told)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_what_is_wrong_is_one_paragraph(case, object_store, proxy, here, run):  # noqa: F811
    write_settings(here, case)
    with client_of(environment(case, object_store, proxy)):
        assert_told(case, run, proxy)


RUNS = ("wrong secret", "no key", "no bucket of the output", "no right to write", "a full store")


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_dagster_fails_with_the_paragraph(name, object_store, proxy, tmp_path):
    case = CASES[name]
    write_settings(tmp_path, case)
    words = [word for word in case.words if not word.startswith(("output ", "nothing can"))]

    def when(request: Request) -> bool:
        return case.fault is not None and request.kind.startswith(case.requests)

    with (
        client_of(environment(case, object_store, proxy)),
        proxy.failing(FULL, when),
        dg.DagsterInstance.ephemeral() as instance,
    ):
        job = refresh_job(GRAPH, load_settings(tmp_path / "curator.yaml"))
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    described = result.failure_data_for_node(OP).user_failure_data.description
    assert "s3://" in described
    for word in words:
        assert word in described


def test_what_check_measures_is_told(object_store, proxy, here, run):  # noqa: F811
    case = Case((), output="s3://images/measured")
    write_settings(here, case)
    with client_of(environment(case, object_store, proxy)):
        result = run("check")
    assert result.exit_code == 0, result.output
    for word in ("a small get takes", "/s come down", "a small put", "conditional put: yes"):
        assert word in result.output
    assert object_store.keys("images", "measured/") == []
