"""Neither a secret nor a control character is in what Dagster stores and prints of a run."""

from pathlib import Path

import dagster as dg
import pytest

from curator_assets.defs.source.tar_sensor import build_tar_sensor
from curator_assets.engine.dagster.events import paragraph_first
from curator_assets.errors import UserError
from curator_assets.settings import Settings
from curator_assets.storage.shards.source import Source

SECRET = "".join(["s3", "cr3t"])  # or it would stand in the lines of a traceback
URI = f"s3://key:{SECRET}@bucket/x"


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", [UserError, ValueError, OSError])
def test_a_run_that_logs_and_fails(tmp_path, capfd, kind):
    @dg.op
    def fails(context: dg.OpExecutionContext):
        with paragraph_first(context.log):
            context.log.warning("reading %s\x1b[31m", URI)
            try:
                raise OSError(5, "I/O error", URI)
            except OSError as error:
                context.log.exception("first")
                raise kind(f"no {URI}") from error

    @dg.job
    def job():
        fails()

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    printed = "".join(capfd.readouterr())
    data = stored(tmp_path)
    assert b"no s3://***@bucket/x" in data
    assert rb"reading s3://***@bucket/x\\x1b[31m" in data
    assert "reading s3://***@bucket/x\\x1b[31m" in printed
    assert SECRET.encode() not in data
    assert SECRET not in printed


def test_the_sensors_errors(tmp_path, monkeypatch):
    def gone(self, output):
        raise ConnectionError(f"no route to {URI}")

    monkeypatch.setattr(Source, "look", gone)
    settings = Settings(source=str(tmp_path), output=str(tmp_path / "out"))
    job = dg.GraphDefinition("refresh").to_job()
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance)
        with pytest.raises(ConnectionError, match=r"no route to s3://\*\*\*@bucket"):
            build_tar_sensor(settings, job)(context)


def test_settings_are_shown_without_secrets_and_kept_with_them():
    settings = Settings(source=URI, output=f"simplecache::{URI}")
    assert settings.source == URI
    assert Settings.model_validate(settings.model_dump()).output == settings.output
    assert settings.model_dump(mode="json")["output"] == "simplecache::s3://***@bucket/x"
    assert SECRET not in settings.model_dump_json() + repr(settings) + str(settings)
