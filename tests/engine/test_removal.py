"""What goes when a tar goes, what is kept of it, and what stays as it was."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from registered import Registered
from tar_files import write_members

from curator_assets.defs.stages import GRAPH
from curator_assets.engine.intake import let_go, look, register
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.trash import empty_trash, erase_let_go, trashed
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.layout import ARRIVALS, LET_GO, NOT_TAKEN, TRASH
from curator_assets.storage.ledger import Entry, Ledger, StoredFile
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_versions import read_version, record_version
from curator_assets.storage.store import Store
from curator_assets.storage.versions import stored_files

BY_SHARD = [stage for stage in GRAPH.stages if stage.by is Partitioning.SHARD]
MADE = [*GRAPH.externals(), *BY_SHARD]
GONE, OTHER = "night/late", "night/later"  # one name begins with the other


def entry_of(name: str, files: dict[str, StoredFile]) -> Entry:
    return Entry(f"f of {name}", f"v of {name}", files=files)


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
            files = stored_files(store, made.files(shard))
            Ledger(store).write(made.name, shard, entry_of(made.name, files), {"of": shard})

    def take_in(self) -> None:
        intake = look(GRAPH, self.settings, self.registry)
        let_go(intake, GRAPH, self.settings, self.registry)
        register(intake, self.settings, self.registry)
        erase_let_go(GRAPH, self.settings)

    def files(self) -> dict[str, bytes]:
        """All but the order of arrival, which may be written another way."""
        paths = (path for path in self.output.rglob("*") if path.is_file())
        files = {str(path.relative_to(self.output)): path.read_bytes() for path in paths}
        apart = (ARRIVALS, NOT_TAKEN, f"{TRASH}/{LET_GO}")
        return {name: data for name, data in files.items() if not name.startswith(apart)}

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


def test_a_removed_shard_goes_whole_and_all_else_is_as_it_was(project):
    before = project.files()
    others = {name: data for name, data in before.items() if f"{GONE}." not in name}
    assert len(before) > len(others)
    project.tar(GONE).unlink()
    project.take_in()
    kept = {f"trash/{name}": data for name, data in before.items() if name not in others}
    erased = project.settings.on_removed == "erase"
    assert project.files() == others | ({} if erased else kept)
    assert project.entries(GONE) == [None] * len(MADE)
    assert None not in project.entries(OTHER)
    assert project.registry.names == [OTHER]


def test_what_is_erased_is_in_no_snapshot_of_the_ledger(project):
    store, name = Store(project.settings.output), layout.ledger_snapshot(MADE[0].name)
    with store.write(name) as file:
        file.write(b"of the entries of both")
    project.tar(GONE).unlink()
    project.take_in()
    assert (name in project.files()) == (project.settings.on_removed == "trash")


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
    store, before = Store(project.settings.output), project.files()
    gone = [name for name in before if f"{GONE}." in name]
    for name in gone:
        with store.write(f"trash/{name}") as file:
            file.write(b"older, and longer than what comes in its place" * 9)
    project.tar(GONE).unlink()
    project.take_in()
    after = project.files()
    assert {name: after[f"trash/{name}"] for name in gone} == {name: before[name] for name in gone}


def test_what_lies_in_the_trash_of_a_bucket_is_taken_back(tmp_path):
    settings = Settings(source=str(tmp_path / "tars"), output="memory://bucket_of_trash/out")
    project = Project(settings, Registered())
    store = Store(settings.output)
    for shard in (GONE, OTHER):
        project.make(shard)
        project.take_in()
    tar = project.tar(GONE)
    _, content = read_version(Ledger(store), layout.TAR_SHARDS, Source(settings.source), GONE)
    signature = Source(settings.source).signature(GONE)
    record_version(store, Ledger(store), layout.TAR_SHARDS, GONE, signature, content)
    before = {name: store.read(name) for name in store.names("")}
    tar.rename(tmp_path / "away.tar")
    project.take_in()
    assert [t.shard for t in trashed(GRAPH, settings)] == [GONE]
    assert project.entries(GONE) == [None] * len(MADE)
    (tmp_path / "away.tar").rename(tar)
    project.take_in()
    after = {name: store.read(name) for name in store.names("")}
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.startswith(TRASH)]
    tar.unlink()
    project.take_in()
    empty_trash(settings)
    assert not [name for name in store.names("") if name.startswith(TRASH)]
