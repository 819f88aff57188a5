"""`image_embeddings`: every sample of a shard, decoded, measured and embedded."""

import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.embed.arithmetic import (
    ARITHMETIC,
    Arithmetic,
    arithmetic_in_force,
    chosen_arithmetic,
)
from curator_assets.defs.embed.embedded_rows import UNIQUE_IDS, Begun, Ended, Rows, embedded_rows
from curator_assets.defs.embed.single_images import touched
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.partitioning import PartitionError, Partitioning, UndecidedError
from curator_assets.engine.stage import (
    Advanced,
    Check,
    Dep,
    Failed,
    Finished,
    Inputs,
    Made,
    Stage,
    Stream,
    Streamed,
)
from curator_assets.engine.work import Purpose, Work
from curator_assets.engine.workers.supervision import supervised
from curator_assets.engine.workers.task import Supervision
from curator_assets.errors import UserError
from curator_assets.masking import masked_error
from curator_assets.models.identity import UNDECIDED
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.shards.not_taken import note_refused
from curator_assets.storage.shards.tar_versions import (
    read_version,
    record_version,
    version_of_content,
)
from curator_assets.storage.shards.tars import BrokenTarError, TarContent
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import TableWriter, embedding_matrix

if TYPE_CHECKING:
    from curator_assets.kernels.encode import EncoderModel

MAX_NORM_ERROR = 1e-3
WEIGHTS = "weights"
"""The input of that name."""

STAYS = "; what was made of the tar before it stays"
"""Of a tar that is refused, and was another one."""

_UNIT_NORMS = "unit_norms"
_N_WRITTEN_AHEAD = 64


def weights_in_force(work: Work) -> str:
    """The identity of the embedding model's weights.

    Raises:
        UndecidedError: they are not here yet, and only looking fetches nothing.
    """
    known = work.weights.model()
    if known is None and work.purpose is Purpose.MAKE:
        devices = work.encoder.devices()[:1]
        trial = partial(touched, precision="float32")
        (known,) = supervised(_loaded_weights, trial, work, (), devices)
        work.weights.loaded(known)
    if known is None:
        raise UndecidedError(UNDECIDED)
    return known


def _loaded_weights(work: Work, _: Iterator[str], __: Supervision) -> Generator[str, None, None]:
    yield work.encoder.load("float32")[1].weights


def _inputs(work: Work, shard: str) -> Inputs | None:
    before = work.entry(IMAGE_EMBEDDINGS, shard)
    if before is None:
        return None  # a new tar is read once, to embed it, not first to hash it
    weights = weights_in_force(work)
    if work.purpose is Purpose.LOOK:
        stored = {name: before.inputs.get(name) for name in (ARITHMETIC, TAR_SHARDS.name)}
        return {WEIGHTS: weights} | stored
    if shard in work.absent:
        arithmetic = arithmetic_in_force(work, weights, before)
        tar = before.inputs.get(TAR_SHARDS.name)
        return {WEIGHTS: weights, ARITHMETIC: arithmetic, TAR_SHARDS.name: tar}
    try:
        signature = work.tars.signature(shard)
        version, content = read_version(work.ledger, TAR_SHARDS.name, work.tars, shard)
        if content is not None and work.purpose is Purpose.MAKE:
            record_version(work.store, work.ledger, TAR_SHARDS.name, shard, signature, content)
    except (OSError, BrokenTarError):
        return None  # embedding it meets the same error, and reports it
    arithmetic = arithmetic_in_force(work, weights, before)
    return {WEIGHTS: weights, ARITHMETIC: arithmetic, TAR_SHARDS.name: version}


@contextmanager
def _open(work: Work) -> Iterator[Stream]:
    def stream(partitions: Iterable[str]) -> Iterator[Advanced | Finished | Failed]:
        shards = list(partitions)
        arithmetic = chosen_arithmetic(work, weights_in_force(work), shards)
        embed = partial(embedded, arithmetic=arithmetic)
        trial = partial(touched, precision=arithmetic.precision)
        devices = work.encoder.devices()[: len(shards)]
        refused, read = dict[str, str](), set[str]()
        for outcome in supervised(embed, trial, work, shards, devices):
            if isinstance(outcome, Finished):
                read.add(outcome.partition)
                if outcome.made.inputs:
                    work.weights.loaded(outcome.made.inputs[WEIGHTS])
            elif isinstance(outcome, Failed) and outcome.is_refused:
                stays = STAYS if work.entry(IMAGE_EMBEDDINGS, outcome.partition) else ""
                refused[outcome.partition] = outcome.error + stays
            yield outcome
        refused = {shard: why for shard, why in refused.items() if shard not in work.absent}
        note_refused(work.store, refused, read)

    yield stream


IMAGE_EMBEDDINGS = Stage(
    name="image_embeddings",
    by=Partitioning.SHARD,
    deps=(Dep(TAR_SHARDS),),
    group="embed",
    kinds=frozenset({"dali", "torch", "parquet"}),
    description="One row a sample: its embedding, image statistics and content hash, or the "
    "reason why its image can't be read.",
    version="3",
    covers=lambda settings: [
        settings.model.model_dump(include={"name", "precision", "execution", "storage"}),
        settings.decode.max_pixels,
    ],
    files=lambda shard: (layout.embeddings(shard),),
    inputs=_inputs,
    making=Streamed(_open),
    checks=(
        Check(_UNIT_NORMS, "Every embedding has unit L2 norm."),
        Check(UNIQUE_IDS, "No image id occurs twice."),
    ),
    columns=lambda settings: schemas.embeddings(1, settings.model.storage),
    unit="images",
)


def embedded(
    work: Work, shards: Iterator[str], supervision: Supervision, *, arithmetic: Arithmetic
) -> Generator[Advanced | Made | Failed, None, None]:
    """Embed shards on one device; its rows as they come, and each shard's outcome."""
    from curator_assets.kernels.ahead import ahead

    decoder, model = work.encoder.load(arithmetic.precision)
    rows = embedded_rows(
        shards, work.tars, decoder, model, work.settings.model, work.log, supervision
    )
    written = _written(rows, work, model, arithmetic, in_worker=supervision.in_worker)
    yield from ahead(written, _N_WRITTEN_AHEAD, "write")


class _RowsOfShard:
    """The rows of one shard; `end` is how it ended, once they are through."""

    def __init__(self, events: Iterator[Begun | Rows | Ended | Failed]) -> None:
        self._events = events
        self.end: Ended | Failed | None = None

    def __iter__(self) -> Iterator[Rows]:
        while self.end is None:
            event = next(self._events)
            if isinstance(event, Rows):
                yield event
            else:
                assert not isinstance(event, Begun)
                self.end = event


@dataclass
class _Tally:
    """What was counted over the rows of a shard."""

    n_samples: int = 0
    n_unseen_images: int = 0
    n_again_on_cpu: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, rows: Rows) -> None:
        self.n_samples += len(rows.table)
        unseen = pc.max_element_wise(pc.subtract(rows.table["n_images"], 1), 0)
        self.n_unseen_images += pc.sum(unseen).as_py() or 0
        self.n_again_on_cpu += rows.n_again_on_cpu
        self.errors.update(rows.table["error"].drop_null().to_pylist())
        for step, seconds in rows.seconds.items():
            self.seconds[step] += seconds


def _written(
    events: Iterator[Begun | Rows | Ended | Failed],
    work: Work,
    model: "EncoderModel",
    arithmetic: Arithmetic,
    *,
    in_worker: bool,
) -> Iterator[Advanced | Made | Failed]:
    """Write the rows of each shard as they come."""
    last = time.perf_counter()
    for begun in events:
        assert isinstance(begun, Begun)
        shard, rows, tally = begun.shard, _RowsOfShard(events), _Tally()
        try:
            ended = yield from _write_table(shard, rows, work, model, tally)
            tar = version_of_content(work.store, shard, ended.signature, ended.content)
        except UserError:  # of what all of them need
            raise
        except Exception as error:  # whatever one shard does, the others are made
            if not isinstance(error, PartitionError | OSError):
                work.log.error("shard %r can't be embedded", shard, exc_info=masked_error(error))
            for _ in rows:  # the rest of the shard is read for nothing
                pass
            check, is_refused = getattr(error, "check", None), isinstance(error, PartitionError)
            yield Failed(shard, _told(shard, error), check, is_refused=is_refused)
            continue
        now = time.perf_counter()
        found = _metadata(tally, work.settings, model, arithmetic, ended.content)
        name, fingerprint = layout.embeddings(shard), ended.content.fingerprint
        yield Made(
            shard,
            files=(name,),
            read={TAR_SHARDS.name: tar},
            metadata=found
            | {"in_worker": in_worker}
            | {"images_per_second": tally.n_samples / max(now - last, 1e-9)}
            | {"url": work.store.url(name), "size_bytes": work.store.size(name)},
            checks={_UNIT_NORMS: {"max_error": MAX_NORM_ERROR}, UNIQUE_IDS: {}},
            state={
                "tar": fingerprint,
                "n_samples": tally.n_samples,
                "n_unreadable": tally.errors.total(),
                "n_unseen_images": tally.n_unseen_images,
                "left_out": {w: found.n_members for w, found in ended.content.left_out.items()},
            },
            inputs={
                WEIGHTS: model.weights,  # what a tag means may have changed at its home
                ARITHMETIC: str(arithmetic),
                TAR_SHARDS.name: fingerprint,
            },
        )
        last = now


def _told(shard: str, error: Exception) -> str:
    if isinstance(error, PartitionError | OSError):
        return str(error)
    return f"shard {shard!r} can't be embedded: {type(error).__name__}: {error}"


def _write_table(
    shard: str, rows: _RowsOfShard, work: Work, model: "EncoderModel", tally: _Tally
) -> Generator[Advanced, None, Ended]:
    """Write the table of one shard.

    Raises:
        PartitionError: the shard could not be read, or its rows failed a check.
        OSError: it could not be written.
    """
    name = layout.embeddings(shard)
    schema = schemas.embeddings(model.embedding_dim, work.settings.model.storage)
    with work.store.write(name) as file, TableWriter(file, name, schema) as writer:
        for part in rows:
            _require_unit_norms(shard, part.table)
            started = time.perf_counter()
            writer.append(part.table)
            tally.add(part)
            tally.seconds["write"] += time.perf_counter() - started
            yield Advanced(shard, len(part.table), pc.sum(part.table["n_bytes"]).as_py() or 0)
        if isinstance(rows.end, Failed):
            raise PartitionError(rows.end.error, check=rows.end.check)
        _require_readable(shard, tally, work.settings)
    assert rows.end is not None
    return rows.end


def _require_unit_norms(shard: str, table: pa.Table) -> None:
    norms = np.linalg.norm(embedding_matrix(table)[0], axis=1)
    off = np.abs(norms - 1).max(initial=0)
    if not off <= MAX_NORM_ERROR:
        message = f"embeddings of {shard!r} are off unit norm by {off:.2g} (NaN: broken weights?)"
        raise PartitionError(message, check=_UNIT_NORMS)


def _require_readable(shard: str, tally: _Tally, settings: Settings) -> None:
    n_unreadable = tally.errors.total()
    if n_unreadable > settings.decode.max_unreadable_fraction * tally.n_samples:
        raise PartitionError(
            f"{n_unreadable} of {tally.n_samples} samples are unreadable, above "
            f"decode.max_unreadable_fraction {settings.decode.max_unreadable_fraction}: "
            f"{dict(tally.errors)}"
        )


def _metadata(
    tally: _Tally,
    settings: Settings,
    model: "EncoderModel",
    arithmetic: Arithmetic,
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
        "n_unseen_images": tally.n_unseen_images,
        "n_left_out_members": sum(found.n_members for found in content.left_out.values()),
        "left_out_members": [
            {"why": why, "members": found.n_members, "first": ", ".join(found.names)}
            for why, found in content.left_out.items()
        ],
        **{f"{step}_seconds": seconds for step, seconds in tally.seconds.items()},
        "model": f"{settings.model.name} / {settings.model.pretrained}",
        "embedding_dim": model.embedding_dim,
        "device": str(model.device),
        "batch_size": model.batch_size,
        "precision": arithmetic.precision,
        "execution": model.execution,
        "lowest_cosine_to_float32": arithmetic.lowest_cosine,
        "weights": model.weights,
    }
