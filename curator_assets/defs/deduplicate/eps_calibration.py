"""`eps_calibration`: how near copies of the user's own images come to their originals.

Legend: *N images of the pool, D embedding width, P random pairs*.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from curator_assets.defs.deduplicate.planted_copies import planted_cosines
from curator_assets.defs.embed.arithmetic import chosen_arithmetic
from curator_assets.defs.embed.embedding_weights import WEIGHTS, weights_in_force
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.single_images import touched
from curator_assets.engine.partitioning import ALL, PartitionError, Partitioning
from curator_assets.engine.progress import Progress
from curator_assets.engine.stage import Advanced, Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.engine.workers.placing import on_one_device
from curator_assets.number_words import counted_or_no
from curator_assets.report.pictures.calibration_plot import calibration_chart
from curator_assets.settings import Settings
from curator_assets.storage import calibration, layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import read_table, write_table
from curator_assets.storage.versions import hash_of

N_RANDOM_PAIRS = 100_000

_SCHEMA = schemas.calibration(calibration.QUANTILES, calibration.EPS_GRID)
_BLOCK_PAIRS = 8192


def _measure_version(settings: Settings) -> str:
    return hash_of("1", IMAGE_EMBEDDINGS.code_version(settings), settings.calibration)


def _inputs(work: Work, _: str) -> Inputs:
    embedded = work.made_shards(IMAGE_EMBEDDINGS)
    versions = [[shard, entry.data_version] for shard, entry in embedded.items()]
    return {IMAGE_EMBEDDINGS.name: hash_of(versions), WEIGHTS: weights_in_force(work)}


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    settings = work.settings

    def make(_: str) -> Made:
        before, embedded = work.entry(EPS_CALIBRATION), work.made_shards(IMAGE_EMBEDDINGS)
        measured = hash_of(_measure_version(settings), dict(_inputs(work, ALL)))
        known = before and before.state.get("measured") == measured and not work.is_forced
        if before and known and not work.ledger.missing_files(before):
            return _summarised(dict(before.state), settings, work.store)
        if not embedded:
            raise PartitionError(f"no image to copy; materialise {IMAGE_EMBEDDINGS.name} first")
        try:
            counts = _measure(list(embedded), work)
        except calibration.ChangedTarError as error:
            raise PartitionError(str(error)) from error
        if not counts["n_sampled"]:
            raise PartitionError("no image that was embedded could be copied; see n_unreadable")
        return _summarised(counts | {"measured": measured}, settings, work.store)

    yield make


def _words(told: Mapping[str, Any], _: Settings) -> str:
    images = counted_or_no(told["n_sampled"], "image")
    words = f"copies of {images} compared with their originals"
    skipped = told["n_skipped"]
    return f"{words}; {counted_or_no(skipped, 'image')} could not be copied" if skipped else words


EPS_CALIBRATION = Stage(
    name="eps_calibration",
    by=Partitioning.WHOLE,
    deps=(Dep(IMAGE_EMBEDDINGS),),
    group="4_deduplicate",
    kinds=frozenset({"dali", "torch", "parquet"}),
    description="On request: how near altered copies of your own images come to their originals, to"
    " choose eps by.\n\n"
    "One table and a plot, without partitions; it embeds altered copies of a sample of the "
    "images. A refresh does not make it: materialise it, or run `curate calibrate`. New "
    "embeddings and another setting of `calibration` make it stale; another `eps` only moves a "
    "line in the plot.",
    version="2",
    covers=lambda settings: [  # eps only moves a line in the plot
        _measure_version(settings),
        settings.duplicates.model_dump(include={"eps", "max_eps"}),
    ],
    files=lambda _: (
        layout.CALIBRATION_TABLE,
        layout.CALIBRATION_COSINES,
        layout.CALIBRATION_PLOT,
    ),
    inputs=_inputs,
    making=OneByOne(_open),
    columns=lambda _: _SCHEMA,
    named_columns="of the cosines",
    unit="calibrations",
    counts=("n_sampled", "n_skipped"),
    words=_words,
    is_optional=True,
)


def _measure(embedded: list[str], work: Work) -> dict[str, Any]:
    """Write the table of cosines; returns how many images it took from how many shards.

    Raises:
        ChangedTarError: a tar holds other images than when it was embedded.
        FileNotFoundError: a tar is gone.
    """
    from curator_assets.kernels.augment import TRANSFORMS

    store, settings, seed = work.store, work.settings, work.settings.calibration.seed
    shards = calibration.choose_shards(embedded, seed=seed)
    chosen = calibration.choose_samples(
        store, shards, n_images=settings.calibration.n_images, seed=seed
    )
    arithmetic = chosen_arithmetic(work, weights_in_force(work), shards)
    precision, form = arithmetic.precision, arithmetic.form
    copies = partial(planted_cosines, chosen=chosen, precision=precision, form=form)
    trial = partial(touched, precision=precision, form=form)
    n_chosen = sum(len(positions) for positions in chosen.values())
    weights = {ALL: n_chosen * (1 + len(TRANSFORMS))}
    unit = "images and copies"
    with Progress(EPS_CALIBRATION.name, unit, weights, work.log, work.watch) as progress:
        for item in on_one_device(copies, trial, work, list(chosen)):
            if isinstance(item, Advanced):
                progress.advance(ALL, item.n_rows, item.n_rows)
            else:
                planted = item
        progress.finish(ALL)
    embeddings, contents = calibration.embedding_pool(store, shards, seed=seed)
    random = random_pair_cosines(embeddings, contents, n_pairs=N_RANDOM_PAIRS, seed=seed)
    rows = {"transform": [calibration.RANDOM_PAIRS] * len(random), "cosine": random}
    table = pa.concat_tables([planted, pa.table(rows)], promote_options="default")
    write_table(store, layout.CALIBRATION_COSINES, table, schemas.CALIBRATION_COSINES)
    n_sampled = len(planted["image_id"].unique())
    return {
        "n_sampled": n_sampled,
        "n_skipped": n_chosen - n_sampled,
        "n_random_pairs": len(random),
        "n_shards_read": len(chosen),
    }


def random_pair_cosines(
    embeddings: np.ndarray, contents: np.ndarray, *, n_pairs: int, seed: int
) -> np.ndarray:
    """Cosine of seeded random pairs of different images.

    Args:
        embeddings: float32 [N, D], unit L2 norm.
        contents: int64 [N], equal for images with the very same bytes.
        n_pairs: how many pairs are drawn, with replacement.
        seed: of the draw.

    Returns:
        float32 [P], P at most `n_pairs`: pairs of one content are left out.
    """
    if len(embeddings) < 2:
        return np.zeros(0, np.float32)
    rng = np.random.default_rng(seed)
    a = rng.integers(len(embeddings), size=n_pairs)
    b = (a + rng.integers(1, len(embeddings), size=n_pairs)) % len(embeddings)
    differ = contents[a] != contents[b]
    a, b = a[differ], b[differ]
    cosines = np.zeros(len(a), np.float32)
    for start in range(0, len(a), _BLOCK_PAIRS):
        block = slice(start, start + _BLOCK_PAIRS)
        cosines[block] = np.einsum("pd,pd->p", embeddings[a[block]], embeddings[b[block]])
    return np.minimum(cosines, 1)


def _summarised(state: Mapping[str, Any], settings: Settings, store: Store) -> Made:
    """The table and the plot, written from the stored cosines."""
    cosines = read_table(store, layout.CALIBRATION_COSINES)
    table = calibration.summarise(cosines)
    write_table(store, layout.CALIBRATION_TABLE, table, _SCHEMA)
    eps, max_eps = settings.duplicates.eps, settings.duplicates.max_eps
    chart = calibration_chart(calibration.by_transform(cosines), eps=eps, max_eps=max_eps)
    with store.write(layout.CALIBRATION_PLOT) as file:
        file.write(chart.file.encode())
    metadata = {
        **{name: value for name, value in state.items() if name != "measured"},
        "seed": settings.calibration.seed,
        "cosines": [
            {name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()}
            for row in table.to_pylist()
        ],
        "plot": store.url(layout.CALIBRATION_PLOT),
        "file": store.url(layout.CALIBRATION_TABLE),
    }
    return Made(ALL, metadata, state=state)
