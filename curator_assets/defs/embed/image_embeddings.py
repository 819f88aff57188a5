"""`image_embeddings`: every sample of a shard, decoded, measured and embedded."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from curator_assets.defs.embed.arithmetic import (
    ARITHMETIC,
    arithmetic_in_force,
    chosen_arithmetic,
)
from curator_assets.defs.embed.embedded_tables import UNIT_NORMS, embedded
from curator_assets.defs.embed.embedding_weights import WEIGHTS, weights_in_force
from curator_assets.defs.embed.read_samples import UNIQUE_IDS
from curator_assets.defs.embed.single_images import touched
from curator_assets.defs.embed.stored_tables import (
    VERSION,
    StoredTables,
    index_tables,
    keep_replaced,
    let_go_of_replaced,
    stored_tables,
)
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.stage import (
    Advanced,
    Check,
    Dep,
    Failed,
    Finished,
    Inputs,
    Stage,
    Stream,
    Streamed,
)
from curator_assets.engine.work import Purpose, Work
from curator_assets.engine.workers.placing import on_every_device
from curator_assets.masking import masked_error
from curator_assets.number_words import counted, counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry
from curator_assets.storage.shards.not_taken import note_refused
from curator_assets.storage.shards.tar_versions import (
    known_version,
    read_version,
    record_version,
)
from curator_assets.storage.shards.tars import BrokenTarError
from curator_assets.storage.tables import schemas

STAYS = "; what was made of the tar before it stays"
"""Of a tar that is refused, and was another one."""


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
        version = known_version(work.ledger, TAR_SHARDS.name, shard, work.signature(shard))
        if version is None:
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
        weights = weights_in_force(work)
        arithmetic = chosen_arithmetic(work, weights, shards)
        stored = StoredTables.of(work.settings, weights, str(arithmetic))
        kept = dict[str, str]()
        if not work.is_forced:
            kept = keep_replaced(work, IMAGE_EMBEDDINGS.name, shards, stored)
            _index(work)
            stored = stored_tables(work, IMAGE_EMBEDDINGS.name, stored)
        embed = partial(embedded, arithmetic=arithmetic, stored=stored)
        trial = partial(touched, precision=arithmetic.precision, form=arithmetic.form)
        refused, read = dict[str, str](), set[str]()
        for outcome in on_every_device(embed, trial, work, shards):
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
        let_go_of_replaced(work, IMAGE_EMBEDDINGS.name, kept)
        _index(work)
        work.log.info("%s", reused_words(work, read))

    yield stream


def _index(work: Work) -> None:
    """Lead the index to what is stored; without it images are embedded again, and that is all."""
    try:
        index_tables(work, IMAGE_EMBEDDINGS.name)
    except OSError as error:
        work.log.warning("the index of what is embedded can't be written: %s", masked_error(error))


def reused_words(work: Work, shards: Iterable[str]) -> str:
    """How many images of some shards were embedded, and how many were embedded before."""
    entries = [entry for shard in shards if (entry := work.entry(IMAGE_EMBEDDINGS, shard))]
    counts = ("n_encoded", "n_reused")
    n_encoded, n_reused = (sum(entry.state.get(n, 0) for entry in entries) for n in counts)
    embedded = counted(n_encoded, "image")
    return f"{embedded} embedded, {n_reused:,} taken from what was embedded before"


def _words(n: Mapping[str, int], _: Settings) -> str:
    made = f"{n['n_encoded']:,} encoded, {n['n_reused']:,} reused from the same bytes"
    unreadable = f"{n['n_unreadable']:,}" if n["n_unreadable"] else "none"
    return f"{counted_or_no(n['n_samples'], 'sample')}: {made}; {unreadable} unreadable"


IMAGE_EMBEDDINGS = Stage(
    name="image_embeddings",
    by=Partitioning.SHARD,
    deps=(Dep(TAR_SHARDS),),
    group="2_embed",
    kinds=frozenset({"dali", "torch", "parquet"}),
    description="Every sample decoded, measured and embedded, or the reason why its image can't be "
    "read.\n\n"
    "A partition is a shard, with one row a sample. This is the costly step: the model runs on "
    "every image, but never twice on the same bytes. A tar with other content, another model or "
    "its precision, and another limit of pixels make a partition stale.",
    version=VERSION,
    covers=lambda settings: [
        settings.model.model_dump(include={"name", "precision", "execution", "storage"}),
        settings.decode.max_pixels,
    ],
    files=lambda shard: (layout.embeddings(shard),),
    inputs=_inputs,
    making=Streamed(_open),
    checks=(
        Check(UNIT_NORMS, "Every embedding has unit L2 norm."),
        Check(UNIQUE_IDS, "No image id occurs twice."),
    ),
    columns=lambda settings: schemas.embeddings(1, settings.model.storage),
    unit="images",
    counts=(
        "dagster/row_count",
        "n_samples",
        "n_reused",
        "n_decoded",
        "n_encoded",
        "n_unreadable",
        "n_again_on_cpu",
        "n_unseen_images",
        "n_left_out_members",
        "size_bytes",
    ),
    words=_words,
    is_spread=True,
)


def n_images(entry: Entry) -> int:
    """How many embeddings a shard has: one of each image that could be read."""
    return int(entry.state["n_samples"] - entry.state["n_unreadable"])
