"""`filter_scores`: a column for each score head, from the stored embeddings."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.shared_ids import require_own_ids
from curator_assets.engine.partitioning import Partitioning, UndecidedError
from curator_assets.engine.stage import Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Purpose, Work
from curator_assets.models.head_files import HeadUnavailableError, head_file
from curator_assets.models.identity import UNDECIDED
from curator_assets.number_words import counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import embedding_matrix, read_row_groups, write_table
from curator_assets.storage.versions import hash_of

if TYPE_CHECKING:
    from curator_assets.kernels.heads import Head


def _covers(settings: Settings) -> object:
    return {score: head.model_dump(exclude={"weights"}) for score, head in settings.heads.items()}


def _inputs(work: Work, shard: str) -> Inputs:
    require_own_ids(work, shard)  # here, where a shard stands alone for the last time
    weights = work.once(_identities, lambda: hash_of(_identities(work)))
    return {"head weights": weights} | work.versions(shard, IMAGE_EMBEDDINGS)


def _identities(work: Work) -> dict[str, str]:
    return {score: _identity(work, score) for score in work.settings.heads}


def _identity(work: Work, score: str) -> str:
    identity = work.weights.head(score)
    if identity is None and work.purpose is Purpose.MAKE:
        _file(work.settings, score)
        identity = work.weights.head(score)
    if identity is None:
        raise UndecidedError(UNDECIDED)
    return identity


def _file(settings: Settings, score: str) -> Path:
    """The file of a head, fetched if it is to be and not there."""
    return head_file(score, settings.heads[score].weights, settings.known_head(score))


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    settings, store = work.settings, work.store
    files = head_files(settings)
    heads = load_heads(files, settings)
    columns = ["image_id", "shard", *(["embedding"] if heads else [])]

    def make(shard: str) -> Made:
        require_own_ids(work, shard)  # whoever forces it has not asked for its inputs
        parts = read_row_groups(store, layout.embeddings(shard), columns)
        scores = pa.concat_tables(_score_columns(part, heads, settings) for part in parts)
        name = layout.scores(shard)
        write_table(store, name, scores, schemas.scores(tuple(settings.heads)))
        metadata = {
            "dagster/row_count": len(scores),
            **{f"mean_{score}": pc.mean(scores[score]).as_py() for score in heads},
            "heads": {score: str(path) for score, path in files.items()},
            "file": store.url(name),
        }
        return Made(shard, metadata)

    yield make


def _words(n: Mapping[str, int], settings: Settings) -> str:
    samples = counted_or_no(n["dagster/row_count"], "sample")
    if not settings.heads:
        return f"{samples}; there are no scores: the settings name no heads"
    heads = counted_or_no(len(settings.heads), "head")
    return f"{samples}, scored by {heads}: {', '.join(settings.heads)}"


FILTER_SCORES = Stage(
    name="filter_scores",
    by=Partitioning.SHARD,
    deps=(Dep(IMAGE_EMBEDDINGS),),
    group="3_filter",
    kinds=frozenset({"torch", "parquet"}),
    description="A column for each score head, computed from the stored embeddings.\n\n"
    "A partition is a shard, with one row a sample; it costs seconds, and no image is read. Other"
    " embeddings, another head or other weights of one make it stale. Thresholds don't: they are "
    "applied later, so that trying another one costs nothing.",
    version="1",
    covers=_covers,
    files=lambda shard: (layout.scores(shard),),
    inputs=_inputs,
    making=OneByOne(_open),
    columns=lambda settings: schemas.scores(tuple(settings.heads)),
    named_columns="score of this head",
    unit="images",
    words=_words,
    is_spread=True,
)


def head_files(settings: Settings) -> dict[str, Path]:
    """Score -> the file of its head, fetched if it is to be.

    Raises:
        HeadUnavailableError: there is no such file, or it can't be fetched.
    """
    return {score: _file(settings, score) for score in settings.heads}


def load_heads(files: Mapping[str, Path], settings: Settings) -> dict[str, "Head"]:
    """The heads in the files of `head_files`.

    Raises:
        HeadUnavailableError: one is no head.
    """
    return {score: _readable(score, path, settings) for score, path in files.items()}


def _readable(score: str, path: Path, settings: Settings) -> "Head":
    try:
        return _load(score, path, settings)
    except Exception as error:  # torch raises whatever a file that is no state dict brings about
        about = f"{type(error).__name__}: {str(error).partition('. ')[0]}"
        raise HeadUnavailableError(
            f"heads.{score}: {path} can't be read as a head's state dict ({about}); "
            "give the path of one that torch.save wrote"
        ) from error


def _load(score: str, path: Path, settings: Settings) -> "Head":
    from curator_assets.kernels.heads import HeadKind
    from curator_assets.models.load_head import load_head

    head = settings.heads[score]
    kind = HeadKind(relu=head.relu, sigmoid=head.sigmoid) if head.embedding_model else None
    return load_head(path, name=score, kind=kind)


def _score_columns(table: pa.Table, heads: dict[str, "Head"], settings: Settings) -> pa.Table:
    scored = table.select(["image_id", "shard"])
    if not heads:
        return scored
    embeddings, rows = embedding_matrix(table)
    for head in heads.values():
        head.require_fit(embedding_model=settings.model.name, embedding_dim=embeddings.shape[1])
    for score, head in heads.items():
        column = np.full(len(table), np.nan, np.float32)
        column[rows] = head(embeddings)
        scored = scored.append_column(score, pa.array(column, from_pandas=True))
    return scored
