"""Rows of embeddings as tables: written shard by shard as they come, counted, checked."""

import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.embed.arithmetic import (
    ARITHMETIC,
    Arithmetic,
)
from curator_assets.defs.embed.embedded_rows import Rows, embedded_rows
from curator_assets.defs.embed.embedding_weights import WEIGHTS
from curator_assets.defs.embed.image_steps import Spent
from curator_assets.defs.embed.known_rows import KnownRows
from curator_assets.defs.embed.read_samples import UNIQUE_IDS, Begun, Ended, read_parts
from curator_assets.defs.embed.stored_tables import (
    RECIPE,
    StoredTable,
    StoredTables,
    identity,
    recipe,
    shared_keys,
)
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.partitioning import PartitionError
from curator_assets.engine.stage import (
    Advanced,
    Failed,
    Made,
)
from curator_assets.engine.work import Work
from curator_assets.engine.workers.task import Supervision
from curator_assets.errors import UserError
from curator_assets.masking import masked_error
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry
from curator_assets.storage.shards.tar_versions import (
    version_of_content,
)
from curator_assets.storage.shards.tars import TarContent
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import TableWriter, embedding_matrix
from curator_assets.storage.versions import stored_files

if TYPE_CHECKING:
    from curator_assets.kernels.encode import EncoderModel

UNIT_NORMS = "unit_norms"
"""The check that embeddings off unit norm fail."""

MAX_NORM_ERROR = 1e-3
_N_WRITTEN_AHEAD = 64


def embedded(
    work: Work,
    shards: Iterator[str],
    supervision: Supervision,
    *,
    arithmetic: Arithmetic,
    stored: StoredTables,
) -> Generator[Advanced | Made | Failed, None, None]:
    """Embed shards on one device; its rows as they come, and each shard's outcome.

    Args:
        work: settings and storage.
        shards: as they are handed out.
        supervision: of this process.
        arithmetic: to embed in.
        stored: the tables from which rows may be taken.
    """
    from curator_assets.kernels.ahead import ahead

    decoder, model = work.encoder.load(arithmetic.precision, arithmetic.form)
    spent, how = Spent(), StoredTables.of(work.settings, model.weights, str(arithmetic))
    if stored.recipes != how.recipes:  # what a tag means has changed at its home
        stored = how
    with KnownRows(work.tars, work.store, stored, supervision, work.log) as known:
        read = ahead(spent.over(read_parts(shards, work.tars, work.log), "read"), 1, "read")
        matched = ahead(known.matched(read), 1, "look up")
        storage = work.settings.model.storage
        rows = embedded_rows(matched, decoder, model, storage, supervision, spent)
        writing = _Writing(work, model, arithmetic, known, spent, in_worker=supervision.in_worker)
        yield from ahead(writing.all_of(rows), _N_WRITTEN_AHEAD, "write")


class _RowsOfShard:
    """The rows of one shard.

    Attributes:
        end: how it ended, once they are through.
        is_cut_off: what makes the rows of all shards failed.
    """

    def __init__(self, events: Iterator[Begun | Rows | Ended | Failed]) -> None:
        self._events = events
        self.end: Ended | Failed | None = None
        self.is_cut_off = False

    def __iter__(self) -> Iterator[Rows]:
        while self.end is None:
            try:
                event = next(self._events)
            except BaseException:
                self.is_cut_off = True
                raise
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
    n_decoded: int = 0
    n_encoded: int = 0
    n_reused: int = 0
    n_again_on_cpu: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    shared: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def add(self, rows: Rows) -> None:
        keys, numbers = shared_keys(rows.table)
        self.shared.append((keys, numbers + self.n_samples))
        self.n_samples += len(rows.table)
        unseen = pc.max_element_wise(pc.subtract(rows.table["n_images"], 1), 0)
        self.n_unseen_images += pc.sum(unseen).as_py() or 0
        self.n_decoded += rows.n_decoded
        self.n_encoded += rows.n_encoded
        self.n_reused += rows.n_reused
        self.n_again_on_cpu += rows.n_again_on_cpu
        self.errors.update(rows.table["error"].drop_null().to_pylist())


class _Writing:
    """Writes the rows of each shard as they come."""

    def __init__(
        self,
        work: Work,
        model: "EncoderModel",
        arithmetic: Arithmetic,
        known: KnownRows,
        spent: Spent,
        *,
        in_worker: bool,
    ) -> None:
        self._work, self._model, self._arithmetic = work, model, arithmetic
        self._known, self._spent, self._in_worker = known, spent, in_worker
        self._recipe = recipe(work.settings, model.weights, str(arithmetic))
        self._last = time.perf_counter()
        self._seconds, self._n_computed = dict[str, float](), model.n_computed

    def all_of(
        self, events: Iterator[Begun | Rows | Ended | Failed]
    ) -> Iterator[Advanced | Made | Failed]:
        """Write the rows of each shard; how far it is, and what came of it."""
        work = self._work
        for begun in events:
            assert isinstance(begun, Begun)
            shard, rows, tally = begun.shard, _RowsOfShard(events), _Tally()
            try:
                ended = yield from self._write_table(shard, rows, tally)
                tar = version_of_content(work.store, shard, ended.signature, ended.content)
            except UserError:  # of what all of them need
                raise
            except Exception as error:  # whatever one shard does, the others are made
                if rows.is_cut_off:
                    raise
                if not isinstance(error, PartitionError | OSError):
                    what = "shard %r can't be embedded"
                    work.log.error(what, shard, exc_info=masked_error(error))
                for _ in rows:  # the rest of the shard is read for nothing
                    pass
                check, is_refused = getattr(error, "check", None), isinstance(error, PartitionError)
                yield Failed(shard, _told(shard, error), check, is_refused=is_refused)
                continue
            with suppress(OSError):  # others are then computed that could be copied
                name = layout.embeddings(shard)
                at = StoredTable(name, stored_files(work.store, [name])[name].sha256)
                table = identity(self._recipe, ended.content.fingerprint)
                self._known.add(table, at, tally.shared)
            yield self._made(shard, tally, ended.content, tar)

    def _write_table(
        self, shard: str, rows: _RowsOfShard, tally: _Tally
    ) -> Generator[Advanced, None, Ended]:
        """Write the table of one shard.

        Raises:
            PartitionError: the shard could not be read, or its rows failed a check.
            OSError: it could not be written.
        """
        work, name = self._work, layout.embeddings(shard)
        schema = schemas.embeddings(self._model.embedding_dim, work.settings.model.storage)
        with work.store.write(name) as file, TableWriter(file, name, schema) as writer:
            for part in rows:
                _require_unit_norms(shard, part.table)
                with self._spent.on("write"):
                    writer.append(part.table)
                    tally.add(part)
                yield Advanced(shard, len(part.table), pc.sum(part.table["n_bytes"]).as_py() or 0)
            if isinstance(rows.end, Failed):
                raise PartitionError(rows.end.error, check=rows.end.check)
            _require_readable(shard, tally, work.settings)
        assert rows.end is not None
        return rows.end

    def _made(self, shard: str, tally: _Tally, content: TarContent, tar: Entry) -> Made:
        store, name = self._work.store, layout.embeddings(shard)
        return Made(
            shard,
            files=(name,),
            read={TAR_SHARDS.name: tar},
            metadata={
                **_counted(tally, content),
                **self._since_last(tally),
                **_how(self._work.settings, self._model, self._arithmetic),
                "in_worker": self._in_worker,
                "file": store.url(name),
                "size_bytes": store.size(name),
            },
            checks={UNIT_NORMS: {"max_error": MAX_NORM_ERROR}, UNIQUE_IDS: {}},
            state={
                "tar": content.fingerprint,
                RECIPE: self._recipe,
                "n_samples": tally.n_samples,
                "n_reused": tally.n_reused,
                "n_encoded": tally.n_encoded,
                "n_unreadable": tally.errors.total(),
                "n_unseen_images": tally.n_unseen_images,
                "left_out": {why: found.n_members for why, found in content.left_out.items()},
            },
            inputs={
                WEIGHTS: self._model.weights,  # what a tag means may have changed at its home
                ARITHMETIC: str(self._arithmetic),
                TAR_SHARDS.name: content.fingerprint,
            },
        )

    def _since_last(self, tally: _Tally) -> dict[str, Any]:
        """What was spent since the shard before: on this one, and on images of those around it."""
        now, seconds = time.perf_counter(), dict(self._spent.seconds)
        n_computed = self._model.n_computed
        spent = {
            **{f"{step}_seconds": s - self._seconds.get(step, 0) for step, s in seconds.items()},
            "n_computed": n_computed - self._n_computed,
            "images_per_second": tally.n_samples / max(now - self._last, 1e-9),
        }
        self._last, self._seconds, self._n_computed = now, seconds, n_computed
        return spent


def _told(shard: str, error: Exception) -> str:
    if isinstance(error, PartitionError | OSError):
        return str(error)
    return f"shard {shard!r} can't be embedded: {type(error).__name__}: {error}"


def _require_unit_norms(shard: str, table: pa.Table) -> None:
    norms = np.linalg.norm(embedding_matrix(table)[0], axis=1)
    off = np.abs(norms - 1).max(initial=0)
    if not off <= MAX_NORM_ERROR:
        message = f"embeddings of {shard!r} are off unit norm by {off:.2g} (NaN: broken weights?)"
        raise PartitionError(message, check=UNIT_NORMS)


def _require_readable(shard: str, tally: _Tally, settings: Settings) -> None:
    n_unreadable = tally.errors.total()
    if n_unreadable > settings.decode.max_unreadable_fraction * tally.n_samples:
        raise PartitionError(
            f"{n_unreadable} of {tally.n_samples} samples are unreadable, above "
            f"decode.max_unreadable_fraction {settings.decode.max_unreadable_fraction}: "
            f"{dict(tally.errors)}"
        )


def _counted(tally: _Tally, content: TarContent) -> dict[str, Any]:
    n_unreadable = tally.errors.total()
    return {
        "dagster/row_count": tally.n_samples,
        "n_samples": tally.n_samples,
        "n_reused": tally.n_reused,
        "n_decoded": tally.n_decoded,
        "n_encoded": tally.n_encoded,
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
    }


def _how(settings: Settings, model: "EncoderModel", arithmetic: Arithmetic) -> dict[str, Any]:
    return {
        "model": f"{settings.model.name} / {settings.model.pretrained}",
        "embedding_dim": model.embedding_dim,
        "device": str(model.device),
        "batch_size": model.batch_size,
        "precision": arithmetic.precision,
        "execution": model.execution,
        "form": arithmetic.form,
        "lowest_cosine_to_float32": arithmetic.lowest_cosine,
        "encoder_core_ms": arithmetic.core_ms,
        "weights": model.weights,
    }
