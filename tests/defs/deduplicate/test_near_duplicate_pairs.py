"""Of two images that were compared, none is compared again, whatever becomes of the tars."""

import logging
import shutil
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from embedded_project import EmbeddedProject

from curator_assets.defs.deduplicate import measured_recall, near_duplicate_pairs
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.engine.freshness import examine
from curator_assets.engine.making import make
from curator_assets.storage import layout
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import read_table, write_table

WIDTH, GROUPS = 200, ("0000", "0001", "0002")
NONE_NEW = np.zeros(0, np.int64)
TABLES = layout.pairs, layout.dense_members, layout.searched


def images(seed: int, n: int, like: np.ndarray | None = None) -> np.ndarray:
    """Unit vectors about few directions, some of them near or equal to others."""
    rng = np.random.default_rng(seed)
    topics = 0.1 + 0.05 * np.random.default_rng(99).normal(size=(8, WIDTH))
    rows = topics[rng.integers(8, size=n)] + 0.02 * rng.normal(size=(n, WIDTH))
    others = rows if like is None else np.concatenate([rows, like])
    near = rng.random(n) < 0.4
    spread = rng.choice([0, 0.01, 0.03], (n, 1))
    copied = others[rng.integers(len(others), size=n)]
    length = np.linalg.norm(copied, axis=1, keepdims=True)
    rows[near] = (copied + spread * length * rng.normal(size=rows.shape) / WIDTH**0.5)[near]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def _all_cells_are_visited(monkeypatch) -> None:
    monkeypatch.setattr(near_duplicate_pairs, "SMALL_SEARCH", 0)


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> EmbeddedProject:
    """A project that was searched once; to be copied."""
    folder = tmp_path_factory.mktemp("searched")
    project = EmbeddedProject(folder, clusters={"n_cell_groups": 3, "n_clusters": 12}, dim=WIDTH)
    project.put("a", images(0, 300))
    project.put("b", images(1, 200, images(0, 300)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicate_pairs, "SMALL_SEARCH", 0)
        project.refresh()
    return project


@pytest.fixture
def project(searched, tmp_path) -> EmbeddedProject:
    shutil.copytree(searched.folder, tmp_path, dirs_exist_ok=True)
    return replace(searched, folder=tmp_path, tars=dict(searched.tars), made=dict(searched.made))


def stored(project: EmbeddedProject) -> dict[str, bytes]:
    work = project.work()
    return {name(g): work.store.read(name(g)) for g in GROUPS for name in TABLES}


def told(project: EmbeddedProject, what: str) -> int:
    """Of the cell groups that were searched last."""
    ledger, name = project.work().ledger, NEAR_DUPLICATE_PAIRS.name
    return sum(ledger.read_metadata(name, group)[what] for group in project.made[name])


def assert_as_from_scratch(project: EmbeddedProject) -> None:
    """What lies there is, byte for byte, what a search of everything makes on this codebook."""
    found = stored(project)
    work = project.work()
    for group in GROUPS:
        work.ledger.remove(NEAR_DUPLICATE_PAIRS.name, group)
    project.refresh()
    assert stored(project) == found
    assert told(project, "n_compared") >= told(project, "n_comparable")


def test_the_first_search_compares_all_and_a_drop_only_new_with_all(project):
    assert told(project, "n_pairs") > 200
    assert told(project, "n_identical") > 20
    assert told(project, "n_across_cells") > 0
    everything = told(project, "n_compared")
    assert everything >= told(project, "n_comparable") > 10_000
    project.put("c", images(2, 5))
    project.refresh()
    assert 0 < told(project, "n_compared") < 0.05 * everything
    assert 1 <= told(project, "n_new") <= 15  # in each group that an image touches
    assert_as_from_scratch(project)


def test_what_is_removed_renamed_merged_or_split_is_not_compared_again(project):
    rows = np.concatenate([images(0, 300), images(1, 200, images(0, 300))])
    project.remove("a")
    project.refresh()
    assert told(project, "n_compared") == 0
    assert_as_from_scratch(project)
    project.put("a", rows[:300])
    project.refresh()
    before = stored(project)
    project.remove("b")
    project.put("a", rows[:120])
    project.put("other", rows[120:310])
    project.put("third", rows[310:])
    project.refresh()
    assert told(project, "n_compared") == 0
    assert stored(project) != before
    assert_as_from_scratch(project)


def test_ten_drops_are_one_search(project):
    for k in range(10):
        project.put(f"drop{k}", images(10 + k, 12, images(0, 300)))
        project.refresh()
    assert_as_from_scratch(project)


def test_a_replaced_tar_is_compared_as_far_as_its_images_are_new(project):
    rows = images(0, 300)
    rows[:3] = images(5, 3)
    project.put("a", rows)
    project.refresh()
    assert 0 < told(project, "n_compared") < 0.05 * told(project, "n_comparable")
    assert_as_from_scratch(project)


@pytest.mark.parametrize(
    ("table", "harm"),
    [
        (layout.searched, "lost"),
        (layout.dense_members, "cut"),
        (layout.pairs, "another"),
        (layout.searched, "another"),
        (layout.pairs, "older"),
    ],
)
def test_what_is_not_as_it_was_recorded_is_searched_from_scratch_and_said(
    project, caplog, table, harm
):
    work, name = project.work(), table("0001")
    older = work.store.read(name)
    project.put("c", images(2, 40))
    project.refresh()
    path = project.folder / "out" / name
    whole = path.read_bytes()
    match harm:
        case "lost":
            path.unlink()
        case "cut":
            path.write_bytes(whole[:100])
        case "another":
            at = len(whole) // 2
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        case "older":  # a refresh that wrote it was killed before it could record it
            assert older != whole
            path.write_bytes(older)
    project.put("d", images(3, 40))  # some of each group
    with caplog.at_level(logging.WARNING):
        project.refresh()
    assert "cell group 0001 is searched from scratch" in caplog.text
    assert "0000" not in caplog.text
    assert_as_from_scratch(project)


@pytest.mark.parametrize(
    "changes",
    [
        {"clusters": {"n_cell_groups": 3, "n_clusters": 7}},
        {"duplicates": {"max_eps": 0.06}},
        {"duplicates": {"search": "fast"}},
    ],
)
def test_another_search_takes_nothing_of_the_last_one(project, changes):
    for name, change in changes.items():
        setattr(project, name, change)
    project.put("c", images(2, 5))
    project.refresh()
    if "search" not in project.duplicates:  # the fast one visits some of the same cells
        assert told(project, "n_compared") > 0.2 * told(project, "n_comparable")
    assert_as_from_scratch(project)


def test_other_groups_of_the_same_cells_are_searched_from_scratch(project):
    found = told(project, "n_pairs")
    project.clusters = project.clusters | {"n_cell_groups": 2}
    project.refresh()
    ledger = project.work().ledger
    metadata = [ledger.read_metadata(NEAR_DUPLICATE_PAIRS.name, group) for group in GROUPS[:2]]
    assert sum(one["n_pairs"] for one in metadata) == found
    assert all(one["n_compared"] >= one["n_comparable"] for one in metadata)


def test_force_compares_all(project):
    before = stored(project)
    project.refresh(force=True)
    assert stored(project) == before
    assert told(project, "n_compared") >= told(project, "n_comparable")


def test_memory_changes_no_byte_and_makes_nothing_stale(project):
    before = stored(project)
    project.duplicates = {"search_memory_gib": 1e-6}
    assert not any(project.refresh().values())
    assert_as_from_scratch(project)
    assert stored(project) == before


def test_assignments_to_other_groups_are_not_searched(project):
    before = project.clusters
    project.clusters = before | {"n_cell_groups": 2}
    project.put("c", images(2, 20))
    work = project.work()
    list(make(CLUSTER_ASSIGNMENTS, ["a", "c"], work))  # `b` could not be made
    found = examine(NEAR_DUPLICATE_PAIRS, work, work.partitions(NEAR_DUPLICATE_PAIRS))
    assert all("of 'b' are to 3 cell groups, not to 2" in f.error for f in found.failed)
    assert len(found.failed) == 2
    project.refresh()
    assert [*chain(*project.made.values())] == ["b", "0000", "0001"]


def test_a_codebook_that_a_killed_refresh_left_is_not_taken_for_the_recorded_one(project):
    path = project.folder / "out" / layout.CENTROIDS
    recorded = path.read_bytes()
    centroids = np.load(path)
    np.save(path, centroids[::-1])  # of another seed, say; as large
    project.put("c", images(2, 20))
    with pytest.raises(AssertionError, match=r"centroids\.npy.*it is damaged"):
        project.refresh()
    path.write_bytes(recorded)
    assert project.refresh()["centroids"] == 1
    assert_as_from_scratch(project)


def test_a_changed_vector_is_named_and_no_pair_is_made_of_it(project):
    path = project.folder / "out" / layout.cell_vectors("b")
    whole = bytearray(path.read_bytes())
    whole[3::WIDTH] = bytes(byte ^ 0x40 for byte in whole[3::WIDTH])
    path.write_bytes(bytes(whole))
    project.put("c", images(2, 100, images(1, 200, images(0, 300))))
    with pytest.raises(AssertionError, match=r"clusters/vectors/b\.bin.*it is damaged"):
        project.refresh()


def test_recall_is_measured_as_far_as_it_has_to_be_shown(project, monkeypatch):
    monkeypatch.setattr(measured_recall, "MIN_QUERIES", 10)
    monkeypatch.setattr(measured_recall, "N_TRUE", 400)
    project.duplicates = {"recall_queries": 300}
    project.put("c", images(2, 30))
    (found,) = project.observe()
    assert found.passed
    assert 10 <= found.found["n_queries"] < 150
    assert 200 < found.found["n_true"] < 900
    assert found.found["n_missed"] == 0
    new = found.found["n_new_queries"]
    assert 0 < new <= min(30, found.found["n_queries"] // 2 + 1)
    project.duplicates = {"recall_queries": 7}
    project.put("c", images(3, 30))
    (found,) = project.observe()
    assert found.found["n_queries"] <= 7


def test_recall_in_force_is_of_these_pairs_and_changes_with_what_was_asked(project):
    def n_queries():
        found = near_duplicate_pairs.recall_in_force(project.work())
        return found and found["n_queries"]

    project.duplicates = {"recall_queries": 30}
    assert len(list(near_duplicate_pairs._observe(project.work(), ()))) == 1
    first = n_queries()
    assert 0 < first <= 30
    project.duplicates = {"recall_queries": 50}
    assert n_queries() == first  # it was measured all the same
    assert len(list(near_duplicate_pairs._observe(project.work(), ()))) == 1
    assert first < n_queries() <= 50
    project.duplicates = {"recall_queries": 50, "max_eps": 0.0501}
    assert n_queries() is None  # whether or not there are pairs in between
    project.duplicates = {"recall_queries": 0}
    assert n_queries() is None


def test_recall_sees_pairs_that_are_gone(project):
    project.duplicates = {"recall_queries": 300}
    work = project.work()
    for group in GROUPS:
        name = layout.pairs(group)
        write_table(work.store, name, read_table(work.store, name).slice(0, 0), schemas.PAIRS)
    found, _ = measured_recall.measured_recall(near_duplicate_pairs._search(work), GROUPS, NONE_NEW)
    assert found.n_true > 100
    assert found.n_found == 0


def test_a_sample_of_shards_stands_for_all_of_many_images(project, monkeypatch):
    project.duplicates = {"recall_queries": 300}
    search = near_duplicate_pairs._search(project.work())
    whole, told = measured_recall.measured_recall(search, GROUPS, NONE_NEW)
    assert told == {"n_new_queries": 0, "n_others": 500}
    monkeypatch.setattr(measured_recall, "MAX_OTHERS", 100)
    part, told = measured_recall.measured_recall(search, GROUPS, NONE_NEW)
    assert told["n_others"] in (200, 300)
    assert 0 < part.n_true < whole.n_true
    assert part.recall == whole.recall == 1
