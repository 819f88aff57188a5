import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from pipeline import MODEL, note_arithmetic

from curator_assets.cli.main import curate
from curator_assets.defs.embed import arithmetic, image_embeddings
from curator_assets.defs.embed.arithmetic import Arithmetic
from curator_assets.demo.samples import make_shards
from curator_assets.engine.work import Work

Curate = Callable[..., Result]


@pytest.fixture(autouse=True)
def _arithmetic_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By no clock, for which a model is loaded twice and recast in each new project."""
    choose = arithmetic.chosen_arithmetic

    def chosen(work: Work, weights: str, shards: Sequence[str]) -> Arithmetic:
        note_arithmetic(work.settings)
        return choose(work, weights, shards)

    for module in (arithmetic, image_embeddings):
        monkeypatch.setattr(module, "chosen_arithmetic", chosen)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; no environment variable names a project."""
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", "CURATOR_CONFIG"):
        monkeypatch.setenv(name, "")  # or a command that sets it would set it for later tests
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def run(here: Path) -> Curate:
    return call_curate


def call_curate(*arguments: str) -> Result:
    """`curate`, as from a shell: what it sets in the environment does not last."""
    before = dict(os.environ)
    try:
        return CliRunner().invoke(curate, list(arguments), catch_exceptions=False)
    finally:
        os.environ.clear()
        os.environ.update(before)


def call_curate_in(folder: Path, *arguments: str) -> None:
    """`curate` in a folder, to which no environment variable names a project; it goes well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DAGSTER_HOME", "CURATOR_CONFIG"):
            patch.delenv(name, raising=False)
        result = call_curate(*arguments)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="session")
def sample_tars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sample_tars")
    make_shards(folder, n_samples=30, seed=0)
    yield folder


def write_settings(folder: Path) -> None:
    """Of a project over `tars` that is searched in no time."""
    settings = {
        "source": "tars",
        "output": "out",
        "model": MODEL,
        "clusters": {"n_clusters": 2, "n_cell_groups": 2},
    }
    (folder / "curator.yaml").write_text(yaml.safe_dump(settings))


def assert_one_paragraph(result: Result, status: int, *words: str) -> None:
    """One line on stderr with these words, no traceback, this exit status."""
    assert result.exit_code == status, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert len(lines[0].split()) < 80
    for word in words:
        assert word in lines[0]
