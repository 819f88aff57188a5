"""A whole project in a temporary folder, run in this process."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import dagster as dg
import polars as pl
import yaml

from curator_assets.cli.plan import planned
from curator_assets.cli.refresh import run
from curator_assets.definitions import build_assets
from curator_assets.defs.embed import arithmetic
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.intake import let_go, look, register
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.plan import StagePlan, plan
from curator_assets.engine.work import Purpose, Work, cell_group_names
from curator_assets.errors import UserError
from curator_assets.settings import Settings
from curator_assets.settings_file import load_settings
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.shards.not_taken import write_not_taken
from curator_assets.storage.store import Store
from curator_assets.storage.versions import hash_of

MODEL = {
    "name": "efficientnet_lite0",
    "pretrained": "imagenet",
    "batch_size": 16,
    "precision": "float32",
}

REQUIRED = [stage for stage in GRAPH.stages if not stage.is_optional]

STAGES = [
    tuple(stage.name for stage in stages)
    for _, stages in groupby(REQUIRED, key=lambda stage: stage.by is Partitioning.CELL_GROUP)
]
"""What one command can materialise, in order: a range is of one kind of partition."""


@dataclass
class Pipeline:
    """Tars in `folder/tars`, results in `folder/curated`, an instance in memory."""

    folder: Path
    instance: dg.DagsterInstance
    changes: dict = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        path = self.folder / "curator.yaml"
        base = {
            "source": "tars",
            "output": "curated",
            "model": MODEL,
            "clusters": {"n_clusters": 4, "n_cell_groups": 2},
        }
        path.write_text(yaml.safe_dump(base | self.changes))
        return load_settings(path)

    @property
    def store(self) -> Store:
        return Store(self.settings.output)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store)

    def note_arithmetic(self) -> None:
        """Have the encoder's form chosen, unless the precision is to be chosen as well."""
        if self.settings.model.precision != "auto":
            note_arithmetic(self.settings)

    def shards(self) -> list[str]:
        return list(InstanceRegistry(self.instance, self.settings).shards())

    def register(self) -> None:
        self.note_arithmetic()
        settings = self.settings
        registry = InstanceRegistry(self.instance, settings)
        intake = look(GRAPH, settings, registry)
        write_not_taken(self.store, intake.not_taken)
        let_go(intake, GRAPH, settings, registry)
        register(intake, settings, registry)

    def work(self, purpose: Purpose = Purpose.MAKE) -> Work:
        """What stages work with, on the shards that lie in the source."""
        intake = look(GRAPH, self.settings, InstanceRegistry(self.instance, self.settings))
        return Work(self.settings, intake.shards, logging.getLogger(__name__), purpose)

    def refresh(self, *, force: bool = False) -> bool:
        self.note_arithmetic()
        try:
            return run(self.instance, self.settings, force=force)
        except UserError:
            return False

    def plan(self) -> dict[str, StagePlan]:
        """What a refresh would do, by asset."""
        _, work = planned(self.instance, self.settings)
        return {found.stage.name: found for found in plan(GRAPH.stages, work)}

    def materialize(
        self, *assets: str, partitions: tuple[str, str] | None = None, fails: bool = False
    ) -> dg.ExecuteInProcessResult:
        self.note_arithmetic()
        settings = self.settings
        tags = {}
        if partitions:
            tags = {
                "dagster/asset_partition_range_start": partitions[0],
                "dagster/asset_partition_range_end": partitions[1],
            }
        return dg.materialize(
            build_assets(settings),
            selection=list(assets),
            instance=self.instance,
            tags=tags,
            raise_on_error=not fails,
        )

    def run_all(self) -> dict[str, int]:
        """Materialise everything for all partitions; how many partitions of each were made."""
        self.register()
        done = {}
        for stage in STAGES:
            keys = self.shards()
            if stage == ("near_duplicate_pairs",):
                keys = cell_group_names(self.settings)
            result = self.materialize(*stage, partitions=(keys[0], keys[-1]))
            done |= work_done(result)
        return done

    def table(self, pattern: str) -> pl.DataFrame:
        """All tables that match, one below the other."""
        return pl.read_parquet(self.folder / "curated" / pattern)

    def output_bytes(self) -> dict[str, bytes]:
        """Every curated tar and its table."""
        root = self.folder / "curated" / "shards"
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.*"))}


@contextmanager
def copied(finished: Path, into: Path, changes: dict | None = None) -> Iterator[Pipeline]:
    """A copy of a finished project, whose shards an instance of its own knows."""
    shutil.copytree(finished, into)
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(into, instance, changes or {})
        pipeline.register()
        yield pipeline


def note_arithmetic(settings: Settings) -> None:
    """Have the encoder's arithmetic on CPU chosen, as a clock would do in some seconds."""
    work = Work(settings, (), logging.getLogger(__name__))
    if work.encoder.device_type() != "cpu":
        return
    weights, key = work.weights.model(), arithmetic._key(work)
    if weights and work.ledger.read(arithmetic.RECORD, key) is None:
        precision = settings.model.precision
        inputs = arithmetic._inputs(work, weights)
        state = {"form": "plain", "lowest_cosine": {}, "core_ms": {}, "n_images": 1}
        chosen = "float32" if precision == "auto" else precision
        entry = Entry(hash_of(inputs), chosen, inputs=inputs, state=state)
        work.ledger.write(arithmetic.RECORD, key, entry)


def work_done(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """How many partitions of each asset were made, not only found fresh."""
    done: dict[str, int] = {}
    for event in result.get_asset_materialization_events():
        materialization = event.materialization
        name = materialization.asset_key.to_user_string()
        done[name] = done.get(name, 0) + bool(materialization.metadata["work_done"].value)
    return done
