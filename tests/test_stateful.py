"""Whatever happens in between, the output is that of a fresh run over the tars as they lie."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import polars as pl
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from killed import KilledError, killed_after
from pipeline import MODEL, Pipeline
from polars.testing import assert_frame_equal
from spoilt_index import WAYS, spoil_index
from tar_files import read_members, write_members

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import COPIES
from curator_assets.engine.workers import supervision
from curator_assets.report.pictures import charts
from curator_assets.report.pictures.chart_rendering import Chart
from curator_assets.storage.arrivals import read_arrivals, record_arrivals
from curator_assets.storage.store import Store

EXAMPLES = settings(
    max_examples=4,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking would run the pipeline hundreds of times
    suppress_health_check=list(HealthCheck),
)

# By name order they would arrive otherwise; one reads like a folder of another.
NAMES = ("c", "b/0", "a", "b")
COMMENT = b"\xff\xfe\x00\x04hi"  # a JPEG segment: other bytes, the same pixels

# No worker to be started after each kill; and no charts, which take half of the time.
CHEAPER = (
    (supervision, "runs_here", lambda _: True),
    (charts, "render", lambda name, _, **words: Chart(name, "<svg>", **words)),
)

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
EPS = ({"eps": 0.02}, {"eps": 0.03}, {"eps": 0.04})
ORDERS = (
    {"keep": "first", "best_by": []},
    {"keep": "best", "best_by": ["sharpness"]},
    {"keep": "random", "best_by": []},
)


@dataclass(frozen=True)
class Refresh:
    """One that follows a change: what is done to the index before, and how much is put in place
    until it is killed, if it is."""

    spoilt: str | None
    n_until_killed: int | None


places = st.integers(0, 10_000)
refreshes = st.none() | st.builds(
    Refresh,
    st.sampled_from((None, None, *WAYS)),
    st.none() | st.integers(0, 30),
)


def change(kind: Callable = rule, **strategies: st.SearchStrategy) -> Callable:
    """A rule that a refresh follows half of the time, so that changes also come together."""

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def changed(self, follows: Refresh | None, place: int, **drawn):
            function(self, **drawn | ({"place": place} if "place" in strategies else {}))
            if follows:
                if follows.spoilt:
                    images = [data for image in pool().values() for _, data in image]
                    spoil_index(self.pipeline.store, follows.spoilt, place, images)
                self.refresh(follows.n_until_killed)

        return kind(follows=refreshes, **strategies | {"place": places})(changed)

    return decorate


class AnySequence(RuleBasedStateMachine):
    """A project that is changed and refreshed, held against what was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.root = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        instance = self.stack.enter_context(dg.DagsterInstance.ephemeral())
        for module, name, instead in CHEAPER:
            self.stack.enter_context(patch.object(module, name, instead))
        changes = {
            "model": SMALL_BATCHES,
            "duplicates": {"eps": 0.03},
            "max_removed_fraction": 1,
        }
        self.pipeline = Pipeline(self.root / "project", instance, changes)
        self.tars: dict[str, Content] = {}
        self.removed: dict[str, Content] = {}
        self.n_touched = 0
        self.was_killed = False
        self.is_sound = True  # whatever was refreshed went well: there is something to compare

    def teardown(self) -> None:
        with self.stack:
            if self.is_sound and self.tars:
                self.refresh()
                self.compare_with_a_fresh_run()

    @change(initialize, first=contents, second=contents)
    def start(self, first: Content, second: Content) -> None:
        self.put(NAMES[0], first)
        self.put(NAMES[1], second)

    @change(name=st.sampled_from(NAMES), content=contents)
    def drop_or_replace(self, name: str, content: Content) -> None:
        self.put(name, content)

    @change(place=places, caption=st.sampled_from(CAPTIONS))
    def write_other_captions(self, place: int, caption: str) -> None:
        name = self._tar_at(place)
        self.put(name, tuple((image, caption) for image, _ in self.tars[name]))

    @change(place=places)
    def remove(self, place: int) -> None:
        if len(self.tars) > 1:
            self.take(self._tar_at(place))

    @change(place=places)
    def bring_back(self, place: int) -> None:
        if self.removed:
            name = list(self.removed)[place % len(self.removed)]
            self.put(name, self.removed[name])

    @change(place=places, to=st.sampled_from(NAMES))
    def rename(self, place: int, to: str) -> None:
        """One that has the name gets the other's."""
        name, other = self._tar_at(place), self.tars.get(to)
        self.put(to, self.take(name))
        if other and name != to:
            self.put(name, other)

    @change(place=places, into=st.sampled_from(NAMES))
    def split(self, place: int, into: str) -> None:
        content = self.tars[name := self._tar_at(place)]
        if len(content) > 1 and into not in self.tars:
            middle = len(content) // 2
            self.put(name, content[:middle])
            self.put(into, content[middle:])

    @change(place=places, other=places)
    def merge(self, place: int, other: int) -> None:
        name, into = self._tar_at(place), self._tar_at(other)
        if name != into:
            self.put(into, self.tars[into] + self.take(name))

    @change(place=places)
    def touch(self, place: int) -> None:
        self.n_touched += 1
        os.utime(self._tar(self._tar_at(place)), (self.n_touched, self.n_touched))

    @change(changed=st.one_of(*(st.sampled_from(all_of) for all_of in (EPS, FILTERS, ORDERS))))
    def change_settings(self, changed: dict | list) -> None:
        changes = self.pipeline.changes
        if isinstance(changed, list):
            changes["filters"] = changed
        else:
            changes["duplicates"] = changes["duplicates"] | changed

    @change(folder=st.sampled_from((".", "shards")), place=places)
    def delete_a_file(self, folder: str, place: int) -> None:
        """By hand; not the order of arrival, which nothing can bring back."""
        made = self._files()
        below = [path for name, path in made.items() if folder == "." or name.startswith(folder)]
        if below:
            below[place % len(below)].unlink()

    def take(self, name: str) -> Content:
        self._tar(name).unlink()
        self.removed[name] = self.tars.pop(name)
        return self.removed[name]

    def put(self, name: str, content: Content) -> None:
        self.tars[name] = content
        members = [member for sample in self._members(name).values() for member in sample.items()]
        write_members(self._tar(name), members)

    def refresh(self, n_until_killed: int | None = None) -> None:
        """Refresh; if it is to be killed, once something was put in place so many times."""
        self.is_sound = False
        try:
            with killed_after(n_until_killed):
                assert self.pipeline.refresh()
        except KilledError:
            assert n_until_killed is not None
            self.was_killed = True
        else:
            self.check()
        self.is_sound = True

    def check(self) -> None:
        plans = self.pipeline.plan()
        assert {name: p.stale for name, p in plans.items() if p.stale or p.undecided} == {}
        self.check_every_sample_is_accounted_for()
        self.check_every_kept_id_is_kept()

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
        result, expected = self._files(), files_of(fresh.store)
        assert set(result) == set(expected)
        codebook = (
            "clusters/",
            "duplicates/pairs/",
            "duplicates/dense/",
            "duplicates/searched/",
            "report/",
        )
        assert named_pairs(result) == named_pairs(expected)
        for name in expected:
            if name.endswith(".tar") or name.startswith("embeddings/"):
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

    def _files(self) -> dict[str, Path]:
        return files_of(self.pipeline.store, was_killed=self.was_killed)

    def _tar_at(self, place: int) -> str:
        return list(self.tars)[place % len(self.tars)]

    def _tar(self, name: str) -> Path:
        return self.pipeline.folder / "tars" / f"{name}.tar"


ENTRY = re.compile(r"\.(\d+)\.entry$")


def files_of(store: Store, *, was_killed: bool = False) -> dict[str, Path]:
    """All that was made, by its name below the root, but what was thrown away."""
    root = Path(store.root)
    files = {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*")) if p.is_file()}
    # tars may have come in one drop or in several; what was reported is no result, nor when
    apart = ".", "trash/", "index/", "arrivals/", "metadata/", "lease/", "report/last_summary.json"
    made = {name: path for name, path in files.items() if not name.startswith(apart)}
    # whichever refresh recorded it; of two entries, as a kill may leave them, the later one counts
    by_token = sorted(made, key=lambda name: int((ENTRY.search(name) or [0, 0])[1]))
    by_name = {ENTRY.sub(".entry", name): made[name] for name in by_token}
    assert len(by_name) == len(made) or was_killed
    return by_name


def named_pairs(files: dict[str, Path]) -> set[tuple[object, ...]]:
    """All pairs, whatever cell each was found in."""
    tables = [path for name, path in files.items() if name.startswith("duplicates/pairs/")]
    return {row for path in tables for row in pl.read_parquet(path).drop("cell").iter_rows()}


def test_any_sequence_of_changes_ends_where_a_fresh_run_does():
    run_state_machine_as_test(AnySequence, settings=EXAMPLES)
