"""`image_embeddings`: every sample of a shard, decoded, measured and embedded."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pyarrow as pa

from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.progress import Progress
from curator_assets.defs.stage import Failed, Inputs, Made, Outcome, Stage, Work
from curator_assets.partitions import SHARDS
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import ModelSettings, Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.ledger import hash_of
from curator_assets.storage.retries import with_retries
from curator_assets.storage.tables import embedding_column, embedding_matrix, write_table
from curator_assets.storage.tar_versions import read_version, record_version
from curator_assets.storage.tars import BrokenTarError, Sample, TarContent, content_hash

if TYPE_CHECKING:
    from curator_assets.kernels.decode import ImageDecoder
    from curator_assets.kernels.encode import EncoderModel

ASSET = "image_embeddings"
NO_IMAGE = "no image"
"""`error` of a sample none of whose members is an image; the decoder has the other reasons."""

MAX_NORM_ERROR = 1e-3


def code_version(settings: Settings) -> str:
    """What the embeddings depend on beside the tar and the model's weights."""
    model = settings.model.model_dump(include={"name", "precision", "storage"})
    return f"1-{hash_of(model, settings.decode.max_pixels)}"


def build_image_embeddings(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        partitions_def=SHARDS,
        deps=["tar_shards"],
        group_name="embed",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        check_specs=[
            dg.AssetCheckSpec(
                "unit_norms",
                description="Every embedding has unit L2 norm.",
                asset=ASSET,
                blocking=True,
            ),
            dg.AssetCheckSpec(
                "unique_ids",
                description="No image id occurs twice.",
                asset=ASSET,
                blocking=True,
            ),
        ],
        kinds={"dali", "torch", "parquet"},
        metadata=column_schema(schemas.embeddings(1, settings.model.storage)),
        description="One row a sample: its embedding, image statistics and content hash, or the "
        "reason why its image can't be read.",
    )
    def image_embeddings(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return image_embeddings


def stage(work: Work) -> Stage:
    """How a shard's samples are embedded."""
    settings, ledger, tars = work.settings, work.ledger, work.storage.tars
    weights = work.encoder.weights_identity()

    def inputs(shard: str | None) -> Inputs | None:
        assert shard is not None
        if ledger.read(ASSET, shard) is None:
            return None  # a new tar is read once, to embed it, not first to hash it
        try:
            return {"weights": weights, "tar_shards": read_version(work.store, ledger, tars, shard)}
        except (OSError, BrokenTarError):
            return None  # embedding it meets the same error, and reports it

    def make(shards: list[str | None]) -> Iterator[Outcome]:
        decoder, model = work.encoder.load()
        progress = Progress(work.log, "images", len(shards))
        for shard in shards:
            assert shard is not None
            embed = partial(_embed_shard, shard, work, weights, decoder, model, progress)
            try:
                yield with_retries(embed, f"shard {shard!r}", work.log)
            except (BrokenTarError, OSError) as error:
                yield Failed(shard, str(error))
            progress.finish_partition()

    return Stage(ASSET, code_version(settings), inputs, make)


def _embed_shard(
    shard: str,
    work: Work,
    weights: str,
    decoder: "ImageDecoder",
    model: "EncoderModel",
    progress: Progress,
) -> Outcome:
    settings, store, tars = work.settings, work.store, work.storage.tars
    seconds: dict[str, float] = defaultdict(float)
    signature = tars.signature(shard)
    content = TarContent(shard)
    with tars.open(shard) as file:
        samples = content.samples(file)
        table = _rows(shard, samples, decoder, model, settings.model, progress, seconds)
    if tars.signature(shard) != signature:
        return Failed(shard, f"shard {shard!r} was written to while it was read; run it again")
    failure = _failed_check(shard, table, settings)
    if failure:
        return failure
    started = time.perf_counter()
    name = layout.embeddings(shard)
    schema = schemas.embeddings(model.embedding_dim, settings.model.storage)
    write_table(store, name, table, schema)
    seconds["write"] = time.perf_counter() - started
    record_version(store, work.ledger, shard, signature, content)
    return Made(
        shard,
        files=(name,),
        metadata=_metadata(table, settings, model, content, seconds)
        | {"url": store.url(name), "size_bytes": store.size(name)},
        checks={"unit_norms": {"max_error": MAX_NORM_ERROR}, "unique_ids": {}},
        state={"tar": content.fingerprint},
        inputs={"weights": weights, "tar_shards": content.fingerprint},
        tar_version=content.fingerprint,
    )


def _rows(
    shard: str,
    samples: Iterator[Sample],
    decoder: "ImageDecoder",
    model: "EncoderModel",
    settings: ModelSettings,
    progress: Progress,
    seconds: dict[str, float],
) -> pa.Table:
    """The table of `image_embeddings` for the samples, decoded and encoded in batches."""
    parts, last = list[pa.Table](), time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[stage] += now - last
        last = now

    while batch := list(islice(samples, settings.batch_size)):
        lap("read")
        with_image = [i for i, sample in enumerate(batch) if sample.image]
        decoded = decoder([batch[i].image.data for i in with_image])  # type: ignore[union-attr]
        lap("decode")
        embeddings = model.encode(decoded.pixels)
        lap("encode")
        at = np.array(with_image, dtype=np.int64)
        part = _batch_columns(shard, batch)
        part["embedding"] = embedding_column(
            embeddings, at[decoded.ok], len(batch), settings.storage
        )
        part |= _statistics(decoded, at, len(batch))
        parts.append(pa.table(part))
        progress.advance(len(batch))
        lap("assemble")
    schema = schemas.embeddings(model.embedding_dim, settings.storage)
    tables = [part.select(schema.names).cast(schema) for part in parts]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _batch_columns(shard: str, batch: Iterable[Sample]) -> dict[str, Any]:
    images = [sample.image for sample in batch]
    return {
        "image_id": [f"{shard}/{sample.key}" for sample in batch],
        "shard": [shard for _ in batch],
        "key": [sample.key for sample in batch],
        "position": [sample.position for sample in batch],
        "ext": [image.ext if image else None for image in images],
        "n_bytes": [len(image.data) if image else 0 for image in images],
        "content_hash": [content_hash(image.data) if image else None for image in images],
    }


def _statistics(decoded: Any, at: np.ndarray, n_rows: int) -> dict[str, Any]:
    """Statistics of the decoded images spread over a batch's rows, null where there is none."""
    error: list[str | None] = [NO_IMAGE] * n_rows
    image_format: list[str | None] = [None] * n_rows
    for i, row in enumerate(at.tolist()):
        error[row], image_format[row] = decoded.errors[i], decoded.format[i]
    missing = np.ones(n_rows, dtype=bool)
    missing[at[decoded.ok]] = False

    def spread(values: np.ndarray) -> pa.Array:
        column = np.zeros(n_rows, dtype=values.dtype)
        column[at] = values
        return pa.array(column, mask=missing)

    aspect_ratio = decoded.width / np.maximum(decoded.height, 1)
    return {
        "width": spread(decoded.width),
        "height": spread(decoded.height),
        "aspect_ratio": spread(aspect_ratio.astype(np.float32)),
        "mean_luminance": spread(decoded.mean_luminance),
        "sharpness": spread(decoded.sharpness),
        "format": image_format,
        "error": error,
    }


def _failed_check(shard: str, table: pa.Table, settings: Settings) -> Failed | None:
    norms = np.linalg.norm(embedding_matrix(table)[0], axis=1)
    off = np.abs(norms - 1).max(initial=0)
    if not off <= MAX_NORM_ERROR:
        message = f"embeddings of {shard!r} are off unit norm by {off:.2g} (NaN: broken weights?)"
        return Failed(shard, message, check="unit_norms")
    if len(table["image_id"].unique()) != len(table):
        return Failed(shard, f"shard {shard!r} holds an image_id twice", check="unique_ids")
    n_unreadable = len(table) - table["error"].null_count
    if n_unreadable > settings.decode.max_unreadable_fraction * len(table):
        return Failed(
            shard,
            f"{n_unreadable} of {len(table)} samples are unreadable, above "
            f"decode.max_unreadable_fraction {settings.decode.max_unreadable_fraction}: "
            f"{dict(_reasons(table))}",
        )
    return None


def _reasons(table: pa.Table) -> Counter[str]:
    return Counter(table["error"].drop_null().to_pylist())


def _metadata(
    table: pa.Table,
    settings: Settings,
    model: "EncoderModel",
    content: TarContent,
    seconds: dict[str, float],
) -> dict[str, Any]:
    reasons = _reasons(table)
    total = sum(seconds.values())
    return {
        "dagster/row_count": len(table),
        "n_samples": len(table),
        "n_unreadable": reasons.total(),
        "unreadable_fraction": reasons.total() / max(len(table), 1),
        "unreadable": dict(reasons),
        "n_stray_members": len(content.strays),
        "stray_members": content.strays[:10],
        "images_per_second": len(table) / max(total, 1e-9),
        **{f"{stage}_seconds": value for stage, value in seconds.items()},
        "model": f"{settings.model.name} / {settings.model.pretrained}",
        "embedding_dim": model.embedding_dim,
        "device": str(model.device),
        "precision": str(model.dtype).removeprefix("torch."),
        "weights": model.weights,
    }
