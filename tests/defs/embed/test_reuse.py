"""Nothing is decoded or encoded twice for the same bytes, and the tables are as if it were."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline import MODEL, Pipeline
from tar_files import write_members

from curator_assets.defs.embed import known_rows, read_samples, stored_tables
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.stages import GRAPH
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.engine.freshness import examine
from curator_assets.engine.making import Recorded, make
from curator_assets.engine.trash import empty_trash, erase_let_go
from curator_assets.engine.workers import supervision
from curator_assets.kernels.decode import ImageDecoder
from curator_assets.kernels.encode import EncoderModel
from curator_assets.storage import layout
from curator_assets.storage.content_index.segment import Segment
from curator_assets.storage.versions import stored_files

Members = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [_jpeg(crop.image) for crop in crops()[:120:10]]


@pytest.fixture
def project(pipeline, monkeypatch) -> "Project":
    """One whose kernels are counted: all of it in this process."""
    pipeline.changes = {"model": MODEL | {"batch_size": 4}, "max_removed_fraction": 1.0}
    return Project(pipeline, monkeypatch)


class Project:
    def __init__(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pipeline, self.n_decoded, self.n_encoded = pipeline, 0, 0
        begin, begin_pass = ImageDecoder.begin, EncoderModel._begin_pass

        def counted_begin(decoder, images, *more):
            self.n_decoded += len(images)
            return begin(decoder, images, *more)

        def counted_pass(model, chunk, *more):
            self.n_encoded += len(chunk)
            return begin_pass(model, chunk, *more)

        monkeypatch.setattr(ImageDecoder, "begin", counted_begin)
        monkeypatch.setattr(EncoderModel, "_begin_pass", counted_pass)
        monkeypatch.setattr(supervision, "runs_here", lambda _: True)

    @property
    def output(self) -> Path:
        return self.pipeline.folder / "curated"

    def tars(self, **tars: Members) -> None:
        """These are the tars from now on."""
        folder = self.pipeline.folder / "tars"
        shutil.rmtree(folder, ignore_errors=True)
        for name, members in tars.items():
            write_members(folder / f"{name}.tar", members)

    def embed(self, *, force: bool = False, shards: Sequence[str] = ()) -> tuple[int, int]:
        """How many images were decoded and encoded to make what is stale."""
        self.n_decoded = self.n_encoded = 0
        self.pipeline.register()
        work = self.pipeline.work()
        if force:
            object.__setattr__(work, "is_forced", True)
        stale = list(examine(IMAGE_EMBEDDINGS, work, shards or work.shards, force=force).stale)
        outcomes = list(make(IMAGE_EMBEDDINGS, stale, work))
        assert all(isinstance(outcome, Recorded) for outcome in outcomes), outcomes
        erase_let_go(GRAPH, work.settings)
        metadata = [outcome.metadata for outcome in outcomes]
        assert sum(found["n_decoded"] for found in metadata) == self.n_decoded
        assert sum(found["n_encoded"] for found in metadata) == self.n_encoded
        return self.n_decoded, self.n_encoded

    def tables(self) -> dict[str, bytes]:
        store = self.pipeline.store
        return {name: store.read(name) for name in store.names("embeddings")}

    def assert_as_made_afresh(self) -> None:
        tables = self.tables()
        self.embed(force=True)
        assert self.tables() == tables


def samples(images: dict[str, bytes], caption: bytes = b"a") -> Members:
    return [
        member
        for key, image in images.items()
        for member in ((f"{key}.jpg", image), (f"{key}.txt", caption))
    ]


def numbered(images: list[bytes], first: int = 0) -> dict[str, bytes]:
    return {f"{first + i:03d}": image for i, image in enumerate(images)}


def test_other_captions_names_and_shards_embed_nothing(project, photos):
    a, b = numbered(photos[:5]), numbered(photos[5:9])
    project.tars(a=samples(a), b=samples(b))
    assert project.embed() == (9, 9)
    changes = {
        "a caption": {"a": samples(a, b"another"), "b": samples(b)},
        "names": {"z/a": samples(a), "z/b": samples(b)},
        "other keys and order": {"z/a": samples(numbered(photos[4::-1])), "z/b": samples(b)},
        "split": {"z/a": samples(numbered(photos[:2])), "z/b": samples(numbered(photos[2:4]))}
        | {"z/c": samples(numbered(photos[4:7])), "z/d": samples(numbered(photos[7:9]))},
        "merged": {"z/a": samples(numbered(photos[:9]))},
        "shuffled": {"x": samples(numbered(photos[:9:2])), "z/a": samples(numbered(photos[1:9:2]))},
    }
    before = project.tables()
    for change, tars in changes.items():
        project.tars(**tars)
        assert project.embed() == (0, 0), change
        if change == "a caption":
            assert project.tables() == before  # so nothing else is stale
    project.assert_as_made_afresh()


def test_shards_may_be_made_one_by_one(project, photos):
    """What the first of them replaces is there for the second, in a run of its own."""
    project.tars(a=samples(numbered(photos[:4])), b=samples(numbered(photos[4:8])))
    project.embed()
    project.tars(a=samples(numbered(photos[4:8])), b=samples(numbered(photos[:4])))
    assert project.embed(shards=["a"]) == (0, 0)
    assert project.embed(shards=["b"]) == (0, 0)
    project.assert_as_made_afresh()


@pytest.mark.parametrize("on_removed", ["trash", "erase"])
def test_samples_that_come_back_are_known_until_the_trash_is_emptied(project, photos, on_removed):
    project.pipeline.changes |= {"on_removed": on_removed}
    whole, part = samples(numbered(photos[:4])), samples(numbered(photos[:2]))
    project.tars(**{"a/b": whole, "a": samples(numbered(photos[4:5]))})
    project.embed()
    for n_again in (0 if on_removed == "trash" else 2, 2):
        project.tars(**{"a/b": part, "a": samples(numbered(photos[4:5]))})
        project.embed()
        kept = project.pipeline.store.names(layout.REPLACED)
        assert len(kept) == (on_removed == "trash")
        if n_again:
            empty_trash(project.pipeline.settings)
        project.tars(**{"a/b": whole, "a": samples(numbered(photos[4:5]))})
        assert project.embed() == (n_again, n_again)
    project.assert_as_made_afresh()


def test_of_a_shard_one_replaced_table_is_kept(project, photos):
    for i in range(4):
        project.tars(a=samples(numbered(photos[i : i + 3])))
        project.embed()
        assert len(project.pipeline.store.names(layout.REPLACED)) == (i > 0)
    kept = project.pipeline.store.names(layout.REPLACED)
    project.tars(a=samples(numbered(photos[3:6]), b"another caption"))
    project.embed()
    assert project.pipeline.store.names(layout.REPLACED) == kept  # other rows than in place


def test_an_image_is_embedded_once_wherever_it_lies(project, photos):
    """Twice in a tar, in another one before anything of it is stored, under another extension."""
    twice = {"0": photos[0], "1": photos[1], "2": photos[0]}
    other = [("3.jpg", photos[1]), ("4.png", photos[0]), ("5.jpg", photos[2])]
    project.tars(a=samples(twice), b=other)
    assert project.embed() == (3, 3)
    metadata = [project.pipeline.ledger.read_metadata("image_embeddings", s) for s in "ab"]
    assert [found["n_reused"] for found in metadata] == [1, 2]
    project.assert_as_made_afresh()


def test_images_far_apart_in_a_run_are_embedded_once(project, photos, monkeypatch):
    """Also once the row of the first has left memory."""
    monkeypatch.setattr(known_rows, "_MAX_IN_MEMORY", 1)
    monkeypatch.setattr(known_rows, "_MAX_BEHIND", 2)
    monkeypatch.setattr(read_samples, "_PART_SAMPLES", 4)
    same = {f"shard{i:02d}": samples(numbered(photos[:3])) for i in range(24)}
    project.tars(**same)
    n_decoded, n_encoded = project.embed()
    assert n_decoded == n_encoded
    assert n_decoded < 3 * 20  # what is in flight at the same time may be computed twice
    project.assert_as_made_afresh()


@pytest.mark.parametrize("on_removed", ["trash", "erase"])
def test_what_was_let_go_of_is_used_where_it_comes_back(project, photos, on_removed):
    project.pipeline.changes |= {"on_removed": on_removed}
    project.tars(a=samples(numbered(photos[:3])), b=samples(numbered(photos[3:6])))
    assert project.embed() == (6, 6)
    project.tars(b=samples(numbered(photos[3:6])), moved=samples(numbered(photos[:3], first=7)))
    assert project.embed() == (0, 0)
    project.tars(b=samples(numbered(photos[3:6])))
    assert project.embed() == (0, 0)
    assert (project.output / "trash/embeddings/moved.parquet").exists() == (on_removed == "trash")
    project.tars(a=samples(numbered(photos[:4])), b=samples(numbered(photos[3:6])))
    assert project.embed() == ((0, 0) if on_removed == "trash" else (3, 3))
    project.assert_as_made_afresh()


def test_only_what_is_new_is_embedded(project, photos):
    project.tars(a=samples(numbered(photos[:8])))
    project.embed()
    changed = numbered(photos[:8]) | {"003": photos[9], "bad": b"\xff\xd8\xff no image"}
    project.tars(a=samples(changed), b=samples(numbered(photos[7:9])), empty=[])
    assert project.embed() == (3, 2)
    changed |= {"again": changed["bad"]}
    project.tars(a=samples(changed))
    assert project.embed() == (0, 0)  # that it can't be read is known as well
    project.assert_as_made_afresh()


@pytest.mark.parametrize(
    "changed",
    [
        {"decode": {"max_pixels": 10**6}},
        {"model": MODEL | {"batch_size": 4, "precision": "bfloat16"}},
        {"model": MODEL | {"batch_size": 4, "storage": "float16"}},
    ],
)
def test_rows_that_would_be_others_are_not_used(project, photos, changed):
    a = samples(numbered(photos[:4]))
    project.tars(a=a)
    project.embed()
    project.pipeline.changes |= changed
    project.tars(a=a, b=samples(numbered(photos[2:5])))
    only_rounded = "storage" in str(changed)
    assert project.embed() == ((1, 1) if only_rounded else (5, 5))
    project.assert_as_made_afresh()


def test_force_uses_nothing_that_is_stored(project, photos):
    project.tars(a=samples(numbered(photos[:4])))
    project.embed()
    assert project.embed(force=True) == (4, 4)


def test_a_row_of_what_crashed_is_not_used(project, photos, monkeypatch):
    project.tars(a=samples(numbered(photos[:3])))
    project.embed()
    monkeypatch.setattr(stored_tables, "_NOT_DECODED", [])  # an index that leads there
    assert_error(project, "decoder hung")
    project.tars(a=samples(numbered(photos[:3])), b=samples(numbered(photos[:3])))
    assert project.embed() == (1, 1)


def assert_error(project: Project, error: str) -> None:
    """Have the stored row of the second image say that it failed so."""
    path = project.output / "embeddings/a.parquet"
    table = pq.read_table(path)
    column = table.schema.get_field_index("error")
    table = table.set_column(column, "error", pa.array([None, error, None]))
    pq.write_table(table, path)
    ledger = project.pipeline.ledger
    entry = ledger.read("image_embeddings", "a")
    files = stored_files(project.pipeline.store, list(entry.files))
    ledger.write("image_embeddings", "a", replace(entry, files=files))
    shutil.rmtree(project.output / "index")


# --- an index that is lost or wrong


def index_files(project: Project) -> list[Path]:
    return sorted((project.output / "index").rglob("*.segment"))


def test_a_lost_index_is_made_again(project, photos):
    project.tars(a=samples(numbered(photos[:4])))
    project.embed()
    assert index_files(project)
    shutil.rmtree(project.output / "index")
    project.tars(b=samples(numbered(photos[:4])))
    assert project.embed() == (0, 0)
    assert index_files(project)


@pytest.mark.parametrize("keep", [0, 100, 5000, -1])
def test_a_cut_index_is_made_again(project, photos, keep):
    project.tars(a=samples(numbered(photos[:4])))
    project.embed()
    (path,) = index_files(project)
    path.write_bytes(path.read_bytes()[:keep])
    project.tars(b=samples(numbered(photos[:4])))
    assert project.embed() == (0, 0)


def test_an_index_with_a_changed_byte_changes_no_result(project, photos):
    project.tars(a=samples(numbered(photos[:4])))
    project.embed()
    (path,) = index_files(project)
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    project.tars(b=samples(numbered(photos[:4])))
    assert project.embed() == (4, 4)
    project.tars(c=samples(numbered(photos[:4])))
    assert project.embed() == (0, 0)
    project.assert_as_made_afresh()


@pytest.mark.parametrize(
    "astray",
    [
        pytest.param(lambda rows: (rows + 1) % 4, id="to other images"),
        pytest.param(lambda rows: rows + 3, id="beyond the table"),
    ],
)
def test_an_index_that_leads_astray_changes_no_result(project, photos, monkeypatch, astray):
    project.tars(a=samples(numbered(photos[:4])))
    right = stored_tables.shared_keys

    def wrong(table):
        keys, rows = right(table)
        return keys, astray(rows)

    with monkeypatch.context() as changed:
        changed.setattr(stored_tables, "shared_keys", wrong)
        project.embed()
    project.tars(b=samples(numbered(photos[:4])))
    assert project.embed() == (4, 4)
    project.tars(c=samples(numbered(photos[:4])))
    assert project.embed() == (0, 0)
    project.assert_as_made_afresh()


def test_an_index_that_can_not_be_read_costs_time_alone(project, photos, monkeypatch):
    project.tars(a=samples(numbered(photos[:4])))
    project.embed()

    def fails(*_):
        raise OSError("the connection was lost")

    project.tars(b=samples(numbered(photos[:4])))
    with monkeypatch.context() as broken:
        broken.setattr(Segment, "find", fails)
        assert project.embed() == (4, 4)
    project.tars(c=samples(numbered(photos[:5])))
    assert project.embed() == (1, 1)
    project.assert_as_made_afresh()


def test_the_index_of_another_project_leads_nowhere(project, photos, tmp_path):
    project.tars(a=samples(numbered(photos[:4])))
    project.embed()
    shutil.copytree(project.output / "index", tmp_path / "foreign")
    shutil.rmtree(project.output)
    project.tars(b=samples(numbered(photos[4:8])))
    project.embed()
    shutil.copytree(tmp_path / "foreign", project.output / "index", dirs_exist_ok=True)
    project.tars(b=samples(numbered(photos[2:8])))
    assert project.embed() == (2, 2)
    assert len(index_files(project)) <= 2
    project.assert_as_made_afresh()


def test_rows_of_a_damaged_table_are_computed(project, photos):
    project.tars(a=samples(numbered(photos[:4])), b=samples(numbered(photos[4:6])))
    project.embed()
    path = project.output / "embeddings/a.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255
    path.write_bytes(data)
    project.tars(c=samples(numbered(photos[:6])))
    assert project.embed() == (4, 4)
    project.assert_as_made_afresh()


def test_a_table_that_an_unrecorded_run_left_is_not_used(project, photos):
    """Its entry tells of float32; what lies there was made in another precision."""
    project.tars(a=samples(numbered(photos[:4])))
    project.embed()
    folder = project.output / "ledger/image_embeddings"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changes = dict(project.pipeline.changes)
    project.pipeline.changes |= {"model": MODEL | {"batch_size": 4, "precision": "bfloat16"}}
    project.embed()
    for path, data in before.items():
        path.write_bytes(data)
    project.pipeline.changes = changes
    project.tars(b=samples(numbered(photos[:4])))
    assert project.embed() == (4, 4)
    project.assert_as_made_afresh()


def test_a_run_that_was_killed_loses_no_row(project, photos, monkeypatch):
    """The first of two shards was made anew when the run ended: what it held before is needed."""
    project.tars(a=samples(numbered(photos[:4])), b=samples(numbered(photos[4:8])))
    project.embed()
    project.tars(a=samples(numbered(photos[:1])), b=samples(numbered(photos[1:8])))
    project.pipeline.register()
    work = project.pipeline.work()
    outcomes = make(IMAGE_EMBEDDINGS, ["a", "b"], work)
    assert next(outcomes).partition == "a"
    outcomes.close()
    assert project.pipeline.store.names(layout.REPLACED)
    assert project.embed() == (0, 0)
    project.assert_as_made_afresh()


def test_in_a_bucket(project, photos):
    """What is not on this machine's own disk is read by ranges."""
    project.pipeline.changes |= {"output": f"memory:/{project.output}"}
    project.tars(a=samples(numbered(photos[:4])))
    project.embed()
    project.tars(a=samples(numbered(photos[:2])), b=samples(numbered(photos[2:5])))
    assert project.embed() == (1, 1)
    project.assert_as_made_afresh()
