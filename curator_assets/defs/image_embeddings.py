"""`image_embeddings`: every sample of a shard, decoded, measured and embedded."""

import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pyarrow as pa

from curator_assets.defs.describe import column_schema
from curator_assets.defs.embedding import Begun, Ended, Rows, embedded_rows
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.every_gpu import on_every_device
from curator_assets.defs.precision import chosen_precision
from curator_assets.defs.progress import Progress
from curator_assets.defs.stage import Failed, Inputs, Made, Outcome, Stage, Work
from curator_assets.partitions import SHARDS
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.ledger import hash_of
from curator_assets.storage.tables import TableWriter, embedding_matrix
from curator_assets.storage.tar_versions import read_version, record_version
from curator_assets.storage.tars import BrokenTarError, TarContent

if TYPE_CHECKING:
    from curator_assets.kernels.encode import EncoderModel
    from curator_assets.kernels.precision import PrecisionChoice

ASSET = "image_embeddings"
MAX_NORM_ERROR = 1e-3


def code_version(settings: Settings) -> str:
    """What the embeddings depend on beside the tar and the model's weights."""
    model = settings.model.model_dump(include={"name", "precision", "execution", "storage"})
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
        names = [shard for shard in shards if shard is not None]
        embed = partial(_embedded, weights=weights, precision=chosen_precision(work, names))
        devices = work.encoder.devices()[: len(names)]
        progress = Progress(work.log, "images", len(names))
        for done in (
            on_every_device(embed, devices, work, names)
            if len(devices) > 1
            else embed(work, iter(names))
        ):
            if isinstance(done, int):
                progress.advance(done)
            else:
                yield done
                progress.finish_partition()

    return Stage(ASSET, code_version(settings), inputs, make)


def _embedded(
    work: Work, shards: Iterator[str], *, weights: str, precision: "PrecisionChoice"
) -> Iterator[int | Outcome]:
    """Embed shards on one device; the number of rows as they come, and each shard's outcome."""
    from curator_assets.kernels.ahead import ahead

    decoder, model = work.encoder.load(precision.precision)
    tars, settings = work.storage.tars, work.settings.model
    rows = embedded_rows(shards, tars, decoder, model, settings, work.log)
    yield from ahead(_written(rows, work, weights, model, precision), 64, "write")


class _BegunAgainError(Exception):
    """A shard is read from its start again."""


class _NotWrittenError(Exception):
    """A shard ended without its table."""

    def __init__(self, failed: Failed) -> None:
        self.failed = failed


@dataclass
class _Tally:
    """What was counted over the rows of a shard."""

    n_samples: int = 0
    n_again_on_cpu: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, rows: Rows) -> None:
        self.n_samples += len(rows.table)
        self.n_again_on_cpu += rows.n_again_on_cpu
        self.errors.update(rows.table["error"].drop_null().to_pylist())
        for step, seconds in rows.seconds.items():
            self.seconds[step] += seconds


def _written(
    events: Iterator[Begun | Rows | Ended | Failed],
    work: Work,
    weights: str,
    model: "EncoderModel",
    precision: "PrecisionChoice",
) -> Iterator[int | Outcome]:
    """Write the rows of each shard as they come."""
    last = time.perf_counter()
    for begun in events:
        assert isinstance(begun, Begun)
        shard = begun.shard
        tally, ended = _Tally(), None
        try:
            while ended is None:
                tally = _Tally()
                ended = yield from _write_table(shard, events, work, model, tally)
            record_version(work.store, work.ledger, shard, ended.signature, ended.content)
        except _NotWrittenError as error:
            yield error.failed
            continue
        except OSError as error:
            yield Failed(shard, str(error))
            continue
        now = time.perf_counter()
        found = _metadata(tally, work.settings, model, precision, ended.content)
        name = layout.embeddings(shard)
        yield Made(
            shard,
            files=(name,),
            metadata=found
            | {"images_per_second": tally.n_samples / max(now - last, 1e-9)}
            | {"url": work.store.url(name), "size_bytes": work.store.size(name)},
            checks={"unit_norms": {"max_error": MAX_NORM_ERROR}, "unique_ids": {}},
            state={"tar": ended.content.fingerprint},
            inputs={"weights": weights, "tar_shards": ended.content.fingerprint},
            tar_version=ended.content.fingerprint,
        )
        last = now


def _write_table(
    shard: str,
    events: Iterator[Begun | Rows | Ended | Failed],
    work: Work,
    model: "EncoderModel",
    tally: _Tally,
) -> Generator[int, None, Ended | None]:
    """Write the table of one shard; None if the shard begins again, the table is given up then.

    Raises:
        _NotWrittenError: the shard could not be read, or its rows failed a check.
        OSError: it could not be written.
    """
    name = layout.embeddings(shard)
    schema = schemas.embeddings(model.embedding_dim, work.settings.model.storage)
    at_end = False
    try:
        with work.store.write(name) as file, TableWriter(file, name, schema) as writer:
            for event in events:
                at_end = not isinstance(event, Rows)
                match event:
                    case Rows(table):
                        _require_unit_norms(shard, table)
                        started = time.perf_counter()
                        writer.append(table)
                        tally.add(event)
                        tally.seconds["write"] += time.perf_counter() - started
                        yield len(table)
                    case Begun():
                        raise _BegunAgainError
                    case Failed():
                        raise _NotWrittenError(event)
                    case Ended():
                        _require_readable(shard, tally, work.settings)
                        ended, started = event, time.perf_counter()
                        break
        tally.seconds["write"] += time.perf_counter() - started
        return ended
    except _BegunAgainError:
        return None
    except (_NotWrittenError, OSError):
        while not at_end:  # the rest of the shard is read for nothing
            at_end = isinstance(next(events), Ended | Failed)
        raise


def _require_unit_norms(shard: str, table: pa.Table) -> None:
    norms = np.linalg.norm(embedding_matrix(table)[0], axis=1)
    off = np.abs(norms - 1).max(initial=0)
    if not off <= MAX_NORM_ERROR:
        message = f"embeddings of {shard!r} are off unit norm by {off:.2g} (NaN: broken weights?)"
        raise _NotWrittenError(Failed(shard, message, check="unit_norms"))


def _require_readable(shard: str, tally: _Tally, settings: Settings) -> None:
    n_unreadable = tally.errors.total()
    if n_unreadable > settings.decode.max_unreadable_fraction * tally.n_samples:
        message = (
            f"{n_unreadable} of {tally.n_samples} samples are unreadable, above "
            f"decode.max_unreadable_fraction {settings.decode.max_unreadable_fraction}: "
            f"{dict(tally.errors)}"
        )
        raise _NotWrittenError(Failed(shard, message))


def _metadata(
    tally: _Tally,
    settings: Settings,
    model: "EncoderModel",
    precision: "PrecisionChoice",
    content: TarContent,
) -> dict[str, Any]:
    n_unreadable = tally.errors.total()
    return {
        "dagster/row_count": tally.n_samples,
        "n_samples": tally.n_samples,
        "n_unreadable": n_unreadable,
        "unreadable_fraction": n_unreadable / max(tally.n_samples, 1),
        "unreadable": dict(tally.errors),
        "n_again_on_cpu": tally.n_again_on_cpu,
        "n_stray_members": len(content.strays),
        "stray_members": content.strays[:10],
        **{f"{step}_seconds": seconds for step, seconds in tally.seconds.items()},
        "model": f"{settings.model.name} / {settings.model.pretrained}",
        "embedding_dim": model.embedding_dim,
        "device": str(model.device),
        "batch_size": model.batch_size,
        "precision": precision.precision,
        "execution": model.execution,
        "lowest_cosine_to_float32": precision.lowest_cosine,
        "weights": model.weights,
    }
