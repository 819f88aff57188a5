"""The codebook stays until images have outgrown it or drifted from it, and is then trained anew."""

import pytest
from embedded_project import STAGES, EmbeddedProject

from curator_assets.defs.deduplicate import centroids, codebook_fit
from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.storage.tables.assignments import read_centroids

NOTHING = dict.fromkeys([stage.name for stage in STAGES], 0)


@pytest.fixture
def project(tmp_path, monkeypatch) -> EmbeddedProject:
    """64 images in 4 cells."""
    monkeypatch.setattr(codebook_fit, "FOLLOWS_FROM", 100)
    project = EmbeddedProject(tmp_path)
    project.embed("a", 64)
    assert all(project.refresh().values())
    return project


def test_it_is_trained_once_and_a_few_more_images_leave_it(project):
    assert project.refresh() == NOTHING
    before = project.entry
    project.embed("b", 64)  # would have twice the cells, but not more
    assert project.refresh() == NOTHING | {"cluster_assignments": 1, "near_duplicate_pairs": 2}
    assert project.entry == before
    assert project.words() == ""


def test_once_outgrown_it_is_trained_anew_and_all_that_rests_on_it_is_made_again(project):
    project.embed("b", 96)
    assert project.stale() == {"": "changed: images to divide into cells"}
    assert project.words() == (
        "codebook: 4 cells were made for 64 images, and about 160 call for 10; it is trained "
        "anew, and all images are assigned and searched again; clusters.retrain: false would hold "
        "it back"
    )
    made = project.refresh()
    assert made == {"centroids": 1, "cluster_assignments": 2, "near_duplicate_pairs": 2}
    assert len(read_centroids(project.work().store)) == project.entry.state["n_clusters"] == 10
    assert project.refresh() == NOTHING
    assert project.words() == ""


def test_where_images_go_it_stays(project):
    project.embed("b", 96)
    project.refresh()
    del project.tars["b"]
    assert project.stale() == {}
    assert project.refresh()["centroids"] == 0
    assert project.words() == ""


def test_few_images_need_no_other(project, monkeypatch):
    monkeypatch.setattr(codebook_fit, "FOLLOWS_FROM", 1000)
    project.embed("b", 900)
    assert project.refresh()["centroids"] == 0


def test_a_setting_holds_it_back_and_makes_nothing_else_stale(project):
    project.clusters = {"retrain": False}
    assert project.refresh() == NOTHING
    project.embed("b", 96)
    assert project.stale() == {}
    assert project.words() == (
        "codebook: 4 cells were made for 64 images, and about 160 call for 10; clusters.retrain: "
        "false holds it back, and a search compares up to 2.5 times as many pairs as it would with "
        "one that fits"
    )
    assert project.refresh()["centroids"] == 0
    project.clusters = {}
    assert project.refresh()["centroids"] == 1


def test_a_number_of_cells_that_was_asked_for_follows_nothing(project):
    project.clusters = {"n_clusters": 4}
    assert project.refresh()["centroids"] == 1
    project.embed("b", 900, towards=0)
    assert project.refresh()["centroids"] == 0
    project.embed("c", 90)
    assert project.refresh()["centroids"] == 0
    assert project.words() == ""


def test_images_far_from_it_train_it_anew_as_more_come_and_not_before(project, monkeypatch):
    monkeypatch.setattr(codebook_fit, "FOLLOWS_FROM", 1)
    monkeypatch.setattr(codebook_fit, "OUTGROWN", 1000)
    project.tars.clear()
    project.embed("c", 64, towards=0)
    project.refresh(force=True)
    project.embed("d", 80, towards=1)
    assert project.refresh()["centroids"] == 0  # how far they are is known from here on
    assert project.refresh() == NOTHING
    project.embed("e", 1, towards=1)
    assert "times as far from their centroids" in project.words()
    assert project.refresh()["centroids"] == 1
    assert project.entry.state["n_images"] == 145
    project.embed("f", 80, towards=2)
    project.refresh()
    project.clusters = {"retrain": False}
    project.embed("g", 1, towards=2)
    assert "a search compares more pairs than it would" in project.words()
    assert project.refresh()["centroids"] == 0


def test_drift_alone_does_not_train_it_on_the_same_images_again(project, monkeypatch):
    monkeypatch.setattr(codebook_fit, "FOLLOWS_FROM", 1)
    monkeypatch.setattr(codebook_fit, "MAX_DRIFT", 0.0)
    project.embed("b", 6)
    assert project.refresh()["centroids"] == 0
    project.embed("c", 1)
    assert project.refresh()["centroids"] == 1
    project.embed("d", 1)
    assert project.refresh()["centroids"] == 0


def test_more_of_the_same_near_duplicates_are_no_drift(project, monkeypatch):
    monkeypatch.setattr(codebook_fit, "FOLLOWS_FROM", 1)
    project.tars.clear()
    project.embed("c", 64, towards=0, by=0.02)
    project.refresh(force=True)
    project.embed("d", 20, towards=0, by=0.02)
    project.refresh()
    project.embed("e", 20, towards=0, by=0.02)
    assert project.refresh()["centroids"] == 0


def test_a_plan_counts_the_images_of_new_tars_by_their_bytes(project):
    project.tars["b"] = 128  # 192 call for 12 cells; a fifth less of the new for 10
    assert project.stale() == {"": "changed: images to divide into cells"}
    assert "about 192 call for 12" in project.words()
    project.tars["b"] = 64  # for 8, or for more than that
    assert "whether the codebook is trained anew" in project.stale()[""]
    assert project.words() == ""
    project.tars["b"] = 32
    assert project.stale() == {}


def test_a_plan_counts_the_images_of_a_tar_that_was_added_to(project):
    project.tars["a"] = 300
    assert project.stale() == {"": "changed: images to divide into cells"}


def test_what_is_forced_is_trained_for_the_images_that_there_are(project):
    project.embed("b", 30)
    project.refresh(force=True)
    assert project.entry.state["n_images"] == 94


def test_a_codebook_of_no_image_waits_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr(centroids, "all_fresh", lambda *_: True)
    project = EmbeddedProject(tmp_path)
    project.embed("a", 0)
    project.refresh()
    assert project.entry.state == {
        "n_images": 0,
        "n_clusters": 1,
        "mean_cosine_to_centroid": 1.0,
    }
    project.clusters = {"retrain": False}
    project.embed("b", 5)
    assert project.refresh()["centroids"] == 1


def test_the_sample_is_of_so_many_images_a_cell(project, monkeypatch):
    monkeypatch.setattr(centroids, "SAMPLE_A_CELL", 3)
    project.refresh(force=True)
    assert project.work().ledger.read_metadata(CENTROIDS.name)["n_sampled"] == 12
    project.clusters = {"sample_size": 7}
    project.refresh()
    assert project.work().ledger.read_metadata(CENTROIDS.name)["n_sampled"] == 7
