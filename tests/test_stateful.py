"""Whatever happens in between, the output is that of a fresh run over the tars as they lie."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, wraps
from pathlib import Path

import dagster as dg
import polars as pl
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from pipeline import MODEL, Pipeline
from polars.testing import assert_frame_equal
from tar_files import read_members, write_members

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import COPIES
from curator_assets.storage.arrivals import read_arrivals, record_arrivals
from curator_assets.storage.store import Store

EXAMPLES = settings(
    max_examples=6,
    stateful_step_count=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking would run the pipeline hundreds of times
    suppress_health_check=list(HealthCheck),
)

# By name order they would arrive otherwise; one reads like a folder of another.
NAMES = ("c", "b/0", "a", "b")
COMMENT = b"\xff\xfe\x00\x04hi"  # a JPEG segment: other bytes, the same pixels

# A pass of the model is as long as a full batch; most tars here hold more than one of these.
SMALL_BATCHES = MODEL | {"batch_size": 2}

Member = tuple[str, bytes]  # extension and data
Content = tuple[tuple[str, str], ...]  # name of the image in the pool, and caption, of each sample


@cache
def pool() -> dict[str, tuple[Member, ...]]:
    """Images, those of one photograph at cosine distances from 0 to 0.07 of each other."""
    face, tissue, retina = (crops()[i].image for i in (16, 150, 222))
    found = {f"face {case}": COPIES[case](face) for case in FACES}
    found |= {f"tissue {case}": COPIES[case](tissue) for case in ("resized", "cropped")}
    found["tissue"] = COPIES["byte_identical"](tissue)
    found["retina"] = COPIES["byte_identical"](retina)
    data = found["tissue"][1]
    found["tissue commented"] = ("jpg", data[:2] + COMMENT + data[2:])
    found["truncated"] = ("jpg", data[: len(data) * 2 // 5])
    found["empty"] = ("jpg", b"")
    return {name: (member,) for name, member in found.items()} | {"no image": ()}


FACES = ("byte_identical", "re_encoded", "resized", "cropped", "exif_rotated_copy")
TISSUES = ("tissue", "tissue commented", "tissue resized", "tissue cropped")
READABLE = (*(f"face {case}" for case in FACES), *TISSUES, "retina")
UNREADABLE = ("truncated", "empty", "no image")

CAPTIONS = ("one caption", "another")

contents = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(READABLE), st.sampled_from(READABLE + UNREADABLE)),
        st.sampled_from(CAPTIONS),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
FILTERS = (
    [],
    [{"score": "width", "min": 200}],
    [{"score": "width", "max": 300}],
    [{"score": "mean_luminance", "min": 0.4}],
    [{"score": "mean_luminance", "max": 0.6}],
)
ORDERS = ({"keep": "first"}, {"keep": "best", "best_by": ["sharpness"]}, {"keep": "random"})


def change(**strategies: st.SearchStrategy) -> Callable:
    """A rule that a refresh follows half of the time, so that changes also come together."""

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def changed(self, refreshes: bool, **drawn):
            function(self, **drawn)
            if refreshes:
                self.refresh()

        return rule(refreshes=st.booleans(), **strategies)(changed)

    return decorate


class AnySequence(RuleBasedStateMachine):
    """A project that is changed and refreshed, held against what was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.root = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        instance = self.stack.enter_context(dg.DagsterInstance.ephemeral())
        changes = {"model": SMALL_BATCHES, "duplicates": {"eps": 0.03}}
        self.pipeline = Pipeline(self.root / "project", instance, changes)
        self.tars: dict[str, Content] = {}
        self.n_touched = 0
        self.is_sound = False  # the last refresh went well: there is something to compare

    def teardown(self) -> None:
        with self.stack:
            if self.is_sound:
                self.refresh()
                self.compare_with_a_fresh_run()

    @initialize(first=contents, second=contents)
    def start(self, first: Content, second: Content) -> None:
        self.put(NAMES[0], first)
        self.put(NAMES[1], second)
        self.refresh()

    @change(name=st.sampled_from(NAMES), content=contents)
    def drop_or_replace(self, name: str, content: Content) -> None:
        self.put(name, content)

    @change(name=st.sampled_from(NAMES), caption=st.sampled_from(CAPTIONS))
    def write_other_captions(self, name: str, caption: str) -> None:
        if name in self.tars:
            self.put(name, tuple((image, caption) for image, _ in self.tars[name]))

    @change(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        left = {other: content for other, content in self.tars.items() if other != name}
        if name in self.tars and left:
            self.tars = left
            self._tar(name).unlink()

    @change(name=st.sampled_from(NAMES))
    def touch(self, name: str) -> None:
        if name in self.tars:
            self.n_touched += 1
            os.utime(self._tar(name), (self.n_touched, self.n_touched))

    @change(eps=st.sampled_from((0.02, 0.03, 0.04)))
    def change_eps(self, eps: float) -> None:
        self.pipeline.changes["duplicates"] = self.pipeline.changes["duplicates"] | {"eps": eps}

    @change(filters=st.sampled_from(FILTERS))
    def change_filters(self, filters: list) -> None:
        self.pipeline.changes["filters"] = filters

    @change(order=st.sampled_from(ORDERS))
    def change_keep(self, order: dict) -> None:
        eps = self.pipeline.changes["duplicates"]["eps"]
        self.pipeline.changes["duplicates"] = order | {"eps": eps}

    @change(place=st.integers(0, 1000))
    def delete_a_curated_file(self, place: int) -> None:
        self._delete("shards", place)

    @change(place=st.integers(0, 1000))
    def delete_any_file(self, place: int) -> None:
        self._delete(".", place)

    def put(self, name: str, content: Content) -> None:
        self.tars[name] = content
        members = [member for sample in self._members(name).values() for member in sample.items()]
        write_members(self._tar(name), members)

    def refresh(self) -> None:
        self.is_sound = False
        assert self.pipeline.refresh()
        plans = self.pipeline.plan()
        assert {name: p.stale for name, p in plans.items() if p.stale or p.undecided} == {}
        self.check_every_sample_is_accounted_for()
        self.check_every_kept_id_is_kept()
        self.is_sound = True

    def check_every_sample_is_accounted_for(self) -> None:
        assert set(self.pipeline.shards()) == set(self.tars)
        shards = self.pipeline.folder / "curated/shards"
        for name in self.tars:
            table, source = pl.read_parquet(shards / f"{name}.parquet"), self._members(name)
            verdicts = dict(zip(table["key"], table["verdict"], strict=True))
            assert list(verdicts) == list(source)
            unreadable = {key for key, verdict in verdicts.items() if verdict == "unreadable"}
            images = {str(i): image for i, (image, _) in enumerate(self.tars[name])}
            assert unreadable == {key for key, image in images.items() if image in UNREADABLE}
            kept = [key for key, verdict in verdicts.items() if verdict == "kept"]
            path = shards / f"{name}.tar"
            expected = {member: data for key in kept for member, data in source[key].items()}
            assert (read_members(path) if path.exists() else {}) == expected, name

    def check_every_kept_id_is_kept(self) -> None:
        table = pl.concat(
            pl.read_parquet(self.pipeline.folder / f"curated/shards/{name}.parquet")
            for name in self.tars
        )
        of = {verdict: set(ids["image_id"]) for (verdict,), ids in table.group_by("verdict")}
        groups = self.pipeline.table("duplicates/groups.parquet")
        assert set(groups["kept_id"]) <= of.get("kept", set())
        assert set(groups["id"]) == of.get("duplicate", set())

    def compare_with_a_fresh_run(self) -> None:
        folder = self.root / "fresh"
        shutil.copytree(self.pipeline.folder / "tars", folder / "tars")
        clusters = {"clusters": {"n_clusters": 3, "n_cell_groups": 2}}
        with dg.DagsterInstance.ephemeral() as instance:
            fresh = Pipeline(folder, instance, self.pipeline.changes | clusters)
            order = read_arrivals(self.pipeline.store)
            record_arrivals(fresh.store, [shard for shard in order if shard in self.tars])
            assert fresh.refresh()
        result, expected = files_of(self.pipeline.store), files_of(fresh.store)
        assert set(result) == set(expected)
        codebook = "clusters/", "duplicates/pairs/", "duplicates/dense/", "report/"
        for name in expected:
            if name.endswith(".tar"):
                assert result[name].read_bytes() == expected[name].read_bytes(), name
            elif name.endswith(".parquet") and not name.startswith(codebook):
                assert_frame_equal(pl.read_parquet(result[name]), pl.read_parquet(expected[name]))

    def _members(self, name: str) -> dict[str, dict[str, bytes]]:
        """Key -> member's name -> bytes, as they lie in the tar."""
        return {
            str(i): {f"{i}.{ext}": data for ext, data in pool()[image]}
            | {f"{i}.txt": caption.encode()}
            for i, (image, caption) in enumerate(self.tars[name])
        }

    def _delete(self, folder: str, place: int) -> None:
        """Delete a file by hand, the order of arrival apart, which nothing can bring back."""
        files = files_of(self.pipeline.store)
        below = [path for name, path in files.items() if folder == "." or name.startswith(folder)]
        below = [path for path in below if path.exists() and "arrivals" not in path.parts]
        below[place % len(below)].unlink()

    def _tar(self, name: str) -> Path:
        return self.pipeline.folder / "tars" / f"{name}.tar"


def files_of(store: Store) -> dict[str, Path]:
    """All that was made, by its name below the root, but what was thrown away."""
    root = Path(store.root)
    files = {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*")) if p.is_file()}
    # tars may have come in one drop or in several; what was reported is no result, nor when
    apart = (".", "trash/", "arrivals/", "metadata/", "lease/", "report/last_summary.json")
    made = {name: path for name, path in files.items() if not name.startswith(apart)}
    by_name = {re.sub(r"\.\d+\.entry$", ".entry", name): path for name, path in made.items()}
    assert len(by_name) == len(made)  # one entry a partition, whichever refresh recorded it
    return by_name


def test_any_sequence_of_changes_ends_where_a_fresh_run_does():
    run_state_machine_as_test(AnySequence, settings=EXAMPLES)
