import re
import shutil

import pytest

from curator_assets.cli.verify import _work
from curator_assets.questions.verification import DAMAGED, MISSING, OTHER_BYTES, forget, verify

KINDS = {
    "arrivals/00000000.json": "",
    "clusters/assignments/a/00000.parquet": "cluster_assignments",
    "clusters/centroids.npy": "centroids",
    "duplicates/dense/0000.parquet": "near_duplicate_pairs",
    "duplicates/groups.parquet": "duplicate_groups",
    "duplicates/ids/a/00000.parquet": "duplicate_ids",
    "duplicates/pairs/0001.parquet": "near_duplicate_pairs",
    "embeddings/a/00001.parquet": "image_embeddings",
    "ledger/filter_scores/a/00001.*.entry": "filter_scores",
    "ledger/deduplicated_shards/b/00000.*.entry": "deduplicated_shards",
    "metadata/cluster_assignments/b/00000.json": "cluster_assignments",
    "report/sheets/deduplicated_shards/a/00000.jpg": "deduplicated_shards",
    "report/charts/eps_curve.svg": "curation_report",
    "report/index.html": "curation_report",
    "report/pairs_to_mark.csv": "curation_report",
    "report/summary.json": "curation_report",
    "report/tables/funnel.parquet": "curation_report",
    "scores/b/00000.parquet": "filter_scores",
    "shards/a/00000.parquet": "deduplicated_shards",
    "shards/a/00000.tar": "deduplicated_shards",
    "tars/a/00000.parquet": "tar_shards",
}


def kinds(output):
    """Name -> asset of a file of each kind; an entry's name tells under which lease it was made."""
    return {
        str(next(output.glob(name)).relative_to(output)): asset for name, asset in KINDS.items()
    }


def as_missing(name):
    """As a file is named that is gone: whose lease an entry was made under is gone with it."""
    return re.sub(r"\.\d+\.entry$", ".json", name)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


@pytest.fixture(scope="module", autouse=True)
def one_minute():
    """The report shows when it was made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1790000000")
        yield


@pytest.fixture(scope="module")
def whole(project):
    """Up to date where it lies: the report shows the settings, and they name the folder."""
    assert project.refresh()
    return project


@pytest.fixture
def output(whole):
    return whole.folder / "curated"


def content(output):
    """All files but those of what was reported, which tells how long things took."""
    files = (path for path in sorted(output.rglob("*")) if path.is_file())
    named = {str(path.relative_to(output)): path for path in files}
    told = ("ledger/", "lease/", "metadata/")
    return {n: p.read_bytes() for n, p in named.items() if not n.startswith(told)}


def verified(project):
    return verify(_work(project.settings))


def named(found):
    return {trouble.name: (trouble.what, trouble.asset) for trouble in found.troubles}


def test_all_is_well_and_a_file_of_a_persons_own_is_named(whole, output):
    found = verified(whole)
    assert found.troubles == found.unvouched == []
    assert found.n_files > 60
    assert found.n_bytes > 1_000_000
    (output / "report/verdicts_ann.csv").write_text("a person's")
    (output / "shards/stray.tar").write_text("whose?")
    found = verified(whole)
    assert (found.troubles, found.unvouched) == ([], ["shards/stray.tar"])
    (output / "report/verdicts_ann.csv").unlink()
    (output / "shards/stray.tar").unlink()


@pytest.mark.parametrize("damage", [flip, empty, delete])
def test_damage_of_every_kind_of_file_is_named(whole, output, damage):
    for name, asset in kinds(output).items():
        path = output / name
        before = path.read_bytes()
        damage(path)
        found = named(verified(whole))
        path.write_bytes(before)
        if not asset:
            assert list(found) == ["arrivals"]
            continue
        named_as = as_missing(name) if damage is delete else name
        assert list(found) == [named_as]
        what, of = found[named_as]
        assert of == asset
        expected = DAMAGED if name.startswith("ledger/") else OTHER_BYTES
        assert what.startswith(MISSING if damage is delete else expected)
    assert named(verified(whole)) == {}


@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_a_repair_makes_all_of_it_again(whole, output, damage):
    before, names = content(output), kinds(output)
    for name in names:
        damage(output / name)
    found, work = verified(whole), _work(whole.settings)
    told = {as_missing(name) if damage is delete else name for name in names}
    assert told - {"arrivals/00000000.json"} <= named(found).keys()
    forget(work, found)
    assert whole.refresh()
    assert content(output) == before
    assert named(verified(whole)) == {}


def test_force_writes_all_of_it_anew(whole, output):
    before = content(output)
    for name in kinds(output):
        if not name.startswith("arrivals/"):
            flip(output / name)
    assert whole.refresh(force=True)
    assert content(output) == before
    assert named(verified(whole)) == {}


@pytest.mark.parametrize(
    "name",
    [
        "clusters/rows/a/00000.arrow",
        "clusters/vectors/a/00000.bin",
        "clusters/centroids.npy",
        "embeddings/a/00001.parquet",
    ],
)
def test_a_refresh_that_meets_a_damaged_table_makes_it_again(whole, output, name):
    before = content(output)
    flip(output / name)
    rest = [f"ledger/near_duplicate_pairs/000{group}.*" for group in range(2)]
    rest.append("ledger/duplicate_groups.*")
    if name.startswith("embeddings"):
        rest.append("ledger/filter_scores/a/00001.*")
    for entry in rest:
        next(output.glob(entry)).unlink()
    assert whole.refresh()
    assert content(output) == before
    assert named(verified(whole)) == {}


def made(output):
    """All but the report, which tells what has changed since the last one."""
    return {n: data for n, data in content(output).items() if not n.startswith("report/")}


def test_an_output_that_was_deleted_or_renamed_is_made_again(whole, output):
    before = made(output)
    output.rename(output.with_name("renamed"))
    assert {plan.n_fresh for plan in whole.plan().values()} == {0}
    assert whole.refresh()
    assert made(output) == before
    shutil.rmtree(output)
    output.with_name("renamed").rename(output)
    assert whole.refresh()
    assert made(output) == before
