"""`filter_scores`: a column for each score head, from the stored embeddings."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.stage import Failed, Inputs, Made, Outcome, Stage, Work
from curator_assets.partitions import SHARDS
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.head_weights import file_hash, head_weights
from curator_assets.storage.ledger import hash_of
from curator_assets.storage.tables import embedding_matrix, read_row_groups, write_table

if TYPE_CHECKING:
    from curator_assets.kernels.heads import Head

ASSET = "filter_scores"


def code_version(settings: Settings) -> str:
    """What the scores depend on beside the embeddings and the heads' weights."""
    heads = {score: head.model_dump(exclude={"weights"}) for score, head in settings.heads.items()}
    return f"1-{hash_of(heads)}"


def build_filter_scores(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        partitions_def=SHARDS,
        deps=["image_embeddings"],
        group_name="filter",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        kinds={"torch", "parquet"},
        metadata=column_schema(schemas.scores(tuple(settings.heads)), others="score of this head"),
        description="One row a sample, one column a score head. Scores are data: thresholds are "
        "applied later, so that trying another one costs nothing.",
    )
    def filter_scores(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return filter_scores


def stage(work: Work) -> Stage:
    """How a shard's images are scored."""
    settings, store = work.settings, work.store
    files = {
        score: head_weights(score, head.weights, settings.known_head(score))
        for score, head in settings.heads.items()
    }
    weights = {score: file_hash(path) for score, path in files.items()}

    def inputs(shard: str | None) -> Inputs:
        version = work.require_version("image_embeddings", shard)
        return {"head weights": hash_of(weights), "image_embeddings": version}

    def make(shards: list[str | None]) -> Iterator[Outcome]:
        from curator_assets.kernels.heads import HeadMismatchError

        heads = {score: _load(score, path, settings) for score, path in files.items()}
        for shard in shards:
            assert shard is not None
            parts = read_row_groups(store, layout.embeddings(shard), ["image_id", "embedding"])
            try:
                scores = pa.concat_tables(_score_columns(p, heads, settings) for p in parts)
            except HeadMismatchError as error:
                yield Failed(shard, str(error))
                continue
            name = layout.scores(shard)
            write_table(store, name, scores, schemas.scores(tuple(settings.heads)))
            metadata = {
                "dagster/row_count": len(scores),
                **{f"mean_{score}": pc.mean(scores[score]).as_py() for score in heads},
                "heads": {score: str(path) for score, path in files.items()},
                "url": store.url(name),
            }
            yield Made(shard, files=(name,), metadata=metadata)

    return Stage(ASSET, code_version(settings), inputs, make)


def _load(score: str, path: Path, settings: Settings) -> "Head":
    from curator_assets.kernels.heads import HeadKind, load_head

    head = settings.heads[score]
    kind = HeadKind(relu=head.relu, sigmoid=head.sigmoid) if head.embedding_model else None
    return load_head(path, name=score, kind=kind)


def _score_columns(table: pa.Table, heads: dict[str, "Head"], settings: Settings) -> pa.Table:
    embeddings, rows = embedding_matrix(table)
    for head in heads.values():
        head.require_fit(embedding_model=settings.model.name, embedding_dim=embeddings.shape[1])
    scored = table.select(["image_id"])
    for score, head in heads.items():
        column = np.full(len(table), np.nan, np.float32)
        column[rows] = head(embeddings)
        scored = scored.append_column(score, pa.array(column, from_pandas=True))
    return scored
