"""What goes when a tar goes, what is kept of it, and what stays as it was."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from registered import Registered
from tar_files import write_members

from curator_assets.defs.stages import GRAPH
from curator_assets.engine.intake import let_go, look, register
from curator_assets.engine.partitioning import Partitioning
from curator_assets.settings import Settings
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.layout import ARRIVALS
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.store import Store

BY_SHARD = [stage for stage in GRAPH.stages if stage.by is Partitioning.SHARD]
MADE = [*GRAPH.externals(), *BY_SHARD]
KEPT = [stage for stage in BY_SHARD if stage.is_kept_when_removed]
GONE, OTHER = "night/late", "night/later"  # one name begins with the other


@dataclass
class Project:
    settings: Settings
    registry: Registered

    @property
    def output(self) -> Path:
        return Path(self.settings.output)

    def tar(self, shard: str) -> Path:
        return Path(self.settings.source) / f"{shard}.tar"

    def make(self, shard: str) -> None:
        store = Store(self.settings.output)
        write_members(self.tar(shard), [("0.txt", b"a")])
        for made in MADE:
            for name in made.files(shard):
                with store.write(name) as file:
                    file.write(f"{name} of {made.name}".encode())
            Ledger(store).write(made.name, shard, Entry("f", "v"))

    def take_in(self) -> None:
        intake = look(GRAPH, self.settings, self.registry)
        let_go(intake, GRAPH, self.settings, self.registry)
        register(intake, self.settings, self.registry)

    def files(self) -> dict[str, bytes]:
        """All but the order of arrival, which may be written another way."""
        paths = (path for path in self.output.rglob("*") if path.is_file())
        files = {str(path.relative_to(self.output)): path.read_bytes() for path in paths}
        return {name: data for name, data in files.items() if not name.startswith(ARRIVALS)}

    def entries(self, shard: str) -> list[Entry | None]:
        ledger = Ledger(Store(self.settings.output))
        return [ledger.read(made.name, shard) for made in MADE]

    def ranks(self) -> dict[str, int]:
        return read_arrivals(Store(self.settings.output))


@pytest.fixture(params=["trash", "erase"])
def project(tmp_path, request) -> Project:
    """Two shards, made and registered, the one that will go before the other."""
    folders = {"source": str(tmp_path / "tars"), "output": str(tmp_path / "out")}
    project = Project(Settings(**folders, on_removed=request.param), Registered())
    for shard in (GONE, OTHER):
        project.make(shard)
        project.take_in()
    assert project.ranks() == {GONE: 0, OTHER: 1}
    return project


def kept_names() -> list[str]:
    return [name for stage in KEPT for name in stage.files(GONE)]


def test_a_removed_shard_goes_and_all_else_is_as_it_was(project):
    before = project.files()
    project.tar(GONE).unlink()
    project.take_in()
    kept = kept_names() if project.settings.on_removed == "trash" else []
    others = {name: data for name, data in before.items() if f"{GONE}." not in name}
    assert project.files() == others | {f"trash/{name}": before[name] for name in kept}
    assert project.entries(GONE) == [None] * len(MADE)
    assert project.entries(OTHER) == [Entry("f", "v")] * len(MADE)
    assert project.registry.names == [OTHER]


def test_curated_tars_and_their_tables_are_what_is_kept():
    assert sorted(kept_names()) == [f"shards/{GONE}.parquet", f"shards/{GONE}.tar"]


def test_a_tar_that_comes_back_takes_its_old_place(project):
    project.tar(GONE).unlink()
    project.take_in()
    assert project.ranks() == {GONE: 0, OTHER: 1}
    project.make("night/new")
    project.make(GONE)
    project.take_in()
    assert project.ranks() == {GONE: 0, OTHER: 1, "night/new": 2}
    assert look(GRAPH, project.settings, project.registry).shards == (GONE, OTHER, "night/new")


@pytest.mark.parametrize("project", ["trash"], indirect=True)
def test_what_goes_again_takes_the_place_of_what_lay_in_trash(project):
    store = Store(project.settings.output)
    for name in kept_names():
        with store.write(f"trash/{name}") as file:
            file.write(b"older, and longer than what comes in its place" * 9)
    before = project.files()
    project.tar(GONE).unlink()
    project.take_in()
    after = project.files()
    assert [after[f"trash/{name}"] for name in kept_names()] == [
        before[name] for name in kept_names()
    ]
