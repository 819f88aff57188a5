import numpy as np
import pytest

from curator_assets.errors import DamagedFileError
from curator_assets.kernels.cell_group import CellGroup, search_keys
from curator_assets.kernels.cells import visit_cells
from curator_assets.kernels.pairs import Found, find_pairs
from curator_assets.kernels.prefix import principal_directions
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import cell_rows, cell_vectors
from curator_assets.storage.tables.assignments import group_digest
from curator_assets.storage.tables.cell_groups import GroupFiles
from curator_assets.storage.tables.cell_rows import (
    CellFilesWriter,
    CellRows,
    read_cell_rows,
)
from curator_assets.storage.tables.pair_tables import RowNumbers
from curator_assets.storage.tables.parquet import unit_rows

WIDTH, N_CELLS, N_GROUPS = 200, 12, 3
GROUP_OF = np.arange(N_CELLS) * N_GROUPS // N_CELLS


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    base = unit(0.12 + 0.06 * rng.normal(size=(N_CELLS, WIDTH)))
    rows = base[rng.integers(N_CELLS, size=500)] + base[rng.integers(N_CELLS, size=500)]
    rows = unit(rows + 0.03 * rng.normal(size=(500, WIDTH)))
    rows[400:] = unit(rows[:100] + 0.008 * rng.normal(size=(100, WIDTH)))
    rows[7], rows[300] = rows[2], rows[2]
    return rows, base


def assigned(rows, centroids):
    return visit_cells(
        rows, centroids, min_cosine=0.97, max_visits=None, bound_fraction=1.0, device="cpu"
    )


def written(store, shard, stored, centroids, basis, *, parts=3):
    rows = unit_rows(stored)
    names = layout.cell_vectors(shard), layout.cell_rows(shard)
    with store.write(names[0]) as vectors, store.write(names[1]) as file:
        writer = CellFilesWriter(vectors, GROUP_OF)
        for part in np.array_split(np.arange(len(stored)), parts):
            assignment = assigned(rows[part], centroids)
            writer.append(
                stored[part],
                position=part,
                key=search_keys(rows[part], assignment),
                home=assignment.home,
                n_visits=np.diff(assignment.visit_offsets),
                visits=assignment.visits,
                prefix=basis.prefixes(rows[part]),
            )
        return writer.finish(file)


@pytest.mark.parametrize("location", ["local", "memory://cell_files"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_each_group_has_its_residents_and_visitors_and_their_vectors(
    tmp_path, images, monkeypatch, location, dtype
):
    monkeypatch.setattr(cell_rows, "RUN_ROWS", 200)
    monkeypatch.setattr(cell_vectors, "_READ_BYTES", 20 * WIDTH * 4)
    monkeypatch.setattr(cell_vectors, "_LOCAL_GAP_BYTES", 2 * WIDTH * 4)
    store = Store(str(tmp_path) if location == "local" else location)
    stored, centroids = images[0].astype(dtype), images[1]
    basis, rows = principal_directions(*images), unit_rows(stored)
    written(store, "a/b", stored, centroids, basis)
    whole = assigned(rows, centroids)
    assert len(whole.visits) > len(rows)
    for group in range(N_GROUPS):
        found, vectors = read_cell_rows(store, "a/b", group)
        visits = np.split(whole.visits, whole.visit_offsets[1:-1])
        takes_part = [
            i for i, home in enumerate(whole.home) if group in GROUP_OF[[home, *visits[i]]]
        ]
        assert sorted(found.position.tolist()) == takes_part
        offsets = np.cumsum(found.n_visits)[:-1]
        for at, mine in zip(found.position, np.split(found.visits, offsets), strict=True):
            lives_here = GROUP_OF[whole.home[at]] == group
            assert mine.tolist() == [v for v in visits[at] if lives_here or GROUP_OF[v] == group]
        chosen = np.random.default_rng(1).permutation(len(takes_part))[:40]
        np.testing.assert_array_equal(vectors.read(store, chosen), rows[found.position[chosen]])
        np.testing.assert_array_equal(found.prefix, basis.prefixes(rows)[found.position])


@pytest.mark.parametrize("max_bytes", [1e9, 120_000, 1])
def test_a_group_from_files_in_any_number_of_passes_finds_what_one_in_memory_does(
    tmp_path, images, max_bytes
):
    store, (rows, centroids) = Store(str(tmp_path)), images
    basis, numbers = (
        principal_directions(rows, centroids),
        RowNumbers({"a": 201, "none": 0, "b": 299}),
    )
    digests = dict[str, dict]()
    for shard in numbers.shards:
        shown = written(store, shard, rows[numbers.rows_of(shard)], centroids, basis, parts=2)
        digests[shard] = {group: group_digest(part) for group, part in shown.items()}
    settled = {"min_cosine": 0.97, "product_dtype": "float32", "device": "cpu"}
    n_pairs = 0
    for group in range(N_GROUPS):
        cells = np.flatnonzero(group == GROUP_OF).astype(np.int32)
        files = GroupFiles(
            store, {shard: of[group] for shard, of in digests.items() if group in of}, group,
            cells=cells, numbers=numbers, width=WIDTH, prefix_slack=basis.slack,
        )  # fmt: skip
        runs = files.runs(max_bytes, 1e6)
        assert len(runs) in {1e9: {1}, 120_000: {2, 3, 4}, 1: {4}}[max_bytes]
        found = Found.concatenate([find_pairs(files.of(run), **settled) for run in runs])
        expected = find_pairs(CellGroup.of(rows, assigned(rows, centroids), cells), **settled)
        assert found.counts.n_comparable == expected.counts.n_comparable
        for name in ("a", "b", "cosine", "identical"):
            ours, theirs = getattr(found.pairs, name), getattr(expected.pairs, name)
            np.testing.assert_array_equal(ours, theirs)
        for name in ("cell", "searched", "key", "new"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        n_pairs += len(found.pairs.a)
    assert n_pairs > 100


def test_a_groups_digest_covers_its_own_images_and_no_others(tmp_path, images):
    rows, centroids = images
    basis, store = principal_directions(rows, centroids), Store(str(tmp_path))
    before = {g: group_digest(r) for g, r in written(store, "a", rows, centroids, basis).items()}
    again = written(store, "a", rows, centroids, basis, parts=1)
    assert {g: group_digest(r) for g, r in again.items()} == before
    assignment = assigned(rows, centroids)
    visits = np.split(assignment.visits, assignment.visit_offsets[1:-1])
    groups = [
        {*GROUP_OF[[home, *v]].tolist()} for home, v in zip(assignment.home, visits, strict=True)
    ]
    lone = next(i for i, of in enumerate(groups) if len(of) == 1)
    changed = rows.copy()
    changed[lone] = unit(rows[lone : lone + 1] * (1 + 1e-4 * (np.arange(WIDTH) == 0)))
    after = {g: group_digest(r) for g, r in written(store, "a", changed, centroids, basis).items()}
    assert {g for g in before if before[g] != after[g]} == groups[lone]


def test_another_file_than_was_recorded_is_named(tmp_path, images):
    store, (rows, centroids) = Store(str(tmp_path)), images
    basis = principal_directions(rows, centroids)
    digest = group_digest(written(store, "a", rows, centroids, basis)[0])
    written(store, "a", rows[::-1].copy(), centroids, basis)
    files = GroupFiles(
        store, {"a": digest}, 0, cells=np.flatnonzero(GROUP_OF == 0).astype(np.int32),
        numbers=RowNumbers({"a": 500}), width=WIDTH, prefix_slack=basis.slack,
    )  # fmt: skip
    with pytest.raises(DamagedFileError, match=r"rows/a\.arrow.*cell group 0 is not as recorded"):
        files.of(np.array([0], np.int32))


def test_a_changed_byte_is_named_and_never_another_image(tmp_path, images):
    rows, centroids = images
    store = Store(str(tmp_path))
    written(store, "a", rows, centroids, principal_directions(rows, centroids))
    found, vectors = read_cell_rows(store, "a", 1)
    everyone = np.arange(len(found.home))
    for name, read in (
        (layout.cell_vectors("a"), lambda: vectors.read(store, everyone)),
        (layout.cell_rows("a"), lambda: read_cell_rows(store, "a", 1)),
    ):
        path = tmp_path / name
        whole = path.read_bytes()
        n_named = 0
        for at in np.linspace(0, len(whole) - 1, 60).astype(int):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            try:
                back = read()
            except DamagedFileError as error:
                assert name in str(error)
                n_named += 1
            else:  # padding, or of another group
                if isinstance(back, np.ndarray):
                    np.testing.assert_array_equal(back, rows[found.position])
                else:
                    assert back[0].checksum() == found.checksum()
        assert n_named > 10
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DamagedFileError):
            read()
        path.write_bytes(whole)


def test_no_image_is_no_group(tmp_path):
    store = Store(str(tmp_path))
    with (
        store.write(layout.cell_vectors("a")) as vectors,
        store.write(layout.cell_rows("a")) as file,
    ):
        assert CellFilesWriter(vectors, GROUP_OF).finish(file) == {}
    assert read_cell_rows(store, "a", 0) is None
    assert CellRows.none().take(np.zeros(0, np.int64)).checksum() == CellRows.none().checksum()
