"""What is made again, for every way in which things change."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import torch
from pipeline import MODEL, STAGES, Pipeline, copied
from tar_files import read_members, write_members

from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg
from curator_assets.models.offline_folder import write_open_clip_folder
from curator_assets.models.offline_model import installed_checkpoint

pytestmark = pytest.mark.usefixtures("without_charts")

N_SHARDS = 8
PER_SHARD = 3
DIM = 1280
ASSETS = [asset for stage in STAGES for asset in stage]
SOME, ALL_GROUPS = "as needed", 2


def head(path: Path, sign: float) -> None:
    weight = sign * torch.linspace(-1, 1, DIM)[None]
    torch.save({"weight": weight, "bias": torch.zeros(1)}, path)


def write_shards(folder: Path) -> None:
    """Different photographs, and in shards 1 to 4 a copy of shard 0's first."""
    photos = [_jpeg(crop.image) for crop in crops()[::12]]
    for k in range(N_SHARDS):
        mine = photos[k * PER_SHARD : (k + 1) * PER_SHARD]
        if 1 <= k <= 4:
            mine[-1] = photos[0]
        write_shard(folder, k, mine)


def write_shard(folder: Path, k: int, images: list[bytes]) -> None:
    members = [
        (f"{i}.{ext}", data)
        for i, image in enumerate(images)
        for ext, data in (("jpg", image), ("txt", b"caption"))
    ]
    write_members(folder / "tars" / f"{k}.tar", members)


def images_of(folder: Path, k: int) -> list[bytes]:
    members = read_members(folder / "tars" / f"{k}.tar")
    return [data for name, data in members.items() if name.endswith(".jpg")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write_shards(folder)
    head(folder / "nsfw.pt", 1.0)
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(folder, instance, base_changes())
        done = pipeline.run_all()
        assert done["image_embeddings"] == N_SHARDS
    return folder


def base_changes() -> dict:
    return {
        "heads": {
            "nsfw": {
                "weights": "nsfw.pt",
                "embedding_model": "efficientnet_lite0",
                "sigmoid": True,
            }
        },
        "filters": [{"score": "nsfw", "max": 0.999}],
    }


@dataclass
class Project:
    """A copy of the finished project with an instance that knows nothing yet."""

    pipeline: Pipeline

    @property
    def folder(self) -> Path:
        return self.pipeline.folder

    def tars(self) -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for path in sorted((self.folder / "curated/shards").glob("*.tar")):
            stat = path.stat()  # an inode alone may be given again to the next file
            found[path.stem] = stat.st_ino, stat.st_mtime_ns, path.read_bytes()
        return found

    def by_refresh(self) -> dict[str, int]:
        return self._done(self.pipeline.refresh)

    def by_materializing_everything(self) -> dict[str, int]:
        return self.pipeline.run_all()

    def _done(self, action: Callable[[], bool]) -> dict[str, int]:
        before = {record.storage_id for record in self._records()}
        assert action()
        done = dict.fromkeys(ASSETS, 0)
        for record in self._records():
            materialization = record.asset_materialization
            if record.storage_id not in before:
                name = materialization.asset_key.to_user_string()
                done[name] += bool(materialization.metadata["work_done"].value)
        return done

    def _records(self):
        for asset in ASSETS:
            key = dg.AssetKey(asset)
            yield from self.pipeline.instance.fetch_materializations(key, limit=1000).records


@pytest.fixture
def project(finished, tmp_path):
    with copied(finished, tmp_path / "project", base_changes()) as pipeline:
        yield Project(pipeline)


def nothing(project: Project) -> None:
    pass


def touch(project: Project) -> None:
    os.utime(project.folder / "tars/3.tar", (1, 1))


def new_tar(project: Project) -> None:
    fresh = _jpeg(crops()[5].image)
    write_shard(project.folder, 8, [images_of(project.folder, 0)[0], fresh])


def replace_one_image(project: Project) -> None:
    images = images_of(project.folder, 5)
    write_shard(project.folder, 5, [*images[:-1], _jpeg(crops()[5].image)])


def replace_captions(project: Project) -> None:
    members = read_members(project.folder / "tars/5.tar")
    new = {n: b"another caption" if n.endswith(".txt") else d for n, d in members.items()}
    write_members(project.folder / "tars/5.tar", new.items())


def remove_tar(project: Project) -> None:
    (project.folder / "tars/0.tar").unlink()


def another_eps(project: Project) -> None:
    project.pipeline.changes["duplicates"] = {"eps": 0.02}


def another_threshold(project: Project) -> None:
    project.pipeline.changes["filters"] = [{"score": "nsfw", "max": 0.998}]


def replace_head(project: Project) -> None:
    head(project.folder / "nsfw.pt", -1.0)


def another_model(project: Project) -> None:
    folder = project.folder / "model"
    folder.mkdir()
    write_open_clip_folder(folder, installed_checkpoint())
    from safetensors.torch import load_file, save_file

    path = folder / "open_clip_model.safetensors"
    state = load_file(path)
    state["visual.trunk.conv_stem.weight"] *= 0.9
    save_file(state, path)
    name = f"local-dir:{folder}"
    project.pipeline.changes["model"] = MODEL | {"name": name, "pretrained": ""}
    project.pipeline.changes["heads"]["nsfw"]["embedding_model"] = name


def delete_curated(project: Project) -> None:
    (project.folder / "curated/shards/6.tar").unlink()


# embeddings, scores, centroids, assignments, pairs, groups, ids; tars whose bytes may change
SCENARIOS = [
    (nothing, (0, 0, 0, 0, 0, 0, 0), set()),
    (touch, (0, 0, 0, 0, 0, 0, 0), set()),
    (new_tar, (1, 1, 0, 1, SOME, 1, SOME), {"8"}),
    (replace_one_image, (1, 1, 0, 1, SOME, 1, SOME), {"5"}),
    (replace_captions, (1, 0, 0, 0, 0, 0, 0), {"5"}),
    (remove_tar, (0, 0, 0, 0, SOME, 1, SOME), {"0", "1"}),
    (another_eps, (0, 0, 0, 0, 0, 1, SOME), set()),
    (another_threshold, (0, 0, 0, 0, 0, 1, SOME), set()),
    (replace_head, (0, 8, 0, 0, 0, 1, SOME), set()),
    (another_model, (8, 8, 1, 8, ALL_GROUPS, 1, SOME), set()),
    (delete_curated, (0, 0, 0, 0, 0, 0, 0), {"6"}),
]
COLUMNS = (
    "image_embeddings",
    "filter_scores",
    "centroids",
    "cluster_assignments",
    "near_duplicate_pairs",
    "duplicate_groups",
    "duplicate_ids",
)


BY_REFRESH_ONLY = {touch, replace_captions, another_threshold, another_model}
"""What makes something stale by the way of another change here is materialised once."""


@pytest.mark.parametrize(
    ("change", "expected", "rewritten", "means"),
    [
        (*scenario, means)
        for scenario in SCENARIOS
        for means in ("refresh", "materialize")
        if means == "refresh" or scenario[0] not in BY_REFRESH_ONLY
    ],
    ids=lambda v: v if isinstance(v, str) else getattr(v, "__name__", ""),
)
def test_exactly_what_changed_is_made_again(project, change, expected, rewritten, means):
    before = project.tars()
    change(project)
    act = project.by_refresh if means == "refresh" else project.by_materializing_everything
    done = act()
    for asset, n in zip(COLUMNS, expected, strict=True):
        if n != SOME:
            assert done[asset] == n, (asset, done)
    after = project.tars()
    assert {s for s in before.keys() | after.keys() if before.get(s) != after.get(s)} == rewritten
    assert set(project.by_refresh().values()) == {0}
    assert all(not p.stale and not p.undecided for p in project.pipeline.plan().values())
