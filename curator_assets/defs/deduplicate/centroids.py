"""`centroids`: the codebook that divides the near-duplicate search into cells."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from curator_assets.defs.deduplicate.codebook_fit import (
    CODEBOOK,
    CodebookFit,
    codebook_fit,
    images_now,
    n_clusters_for,
)
from curator_assets.defs.embed.embedding_weights import WEIGHTS, weights_in_force
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS, n_images
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.engine.freshness import all_fresh, why_other_code
from curator_assets.engine.partitioning import ALL, MissingInputError, Partitioning, UndecidedError
from curator_assets.engine.stage import Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Purpose, Work
from curator_assets.number_words import counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import embedding_matrix, read_table

IMAGES = "images to divide into cells"
"""The input that is the number of images that the codebook in force was trained for, or, if it is
to be trained anew, of those that there are now."""

SAMPLE_A_CELL = 64
"""Images a cell that train the codebook; more cost more than they save (docs/log.md)."""

PREFIX_SAMPLE = 8192
"""Images that tell along which directions those of one cell differ."""

FIT_SAMPLE = 16_384
"""Images that tell how far from their centroids images lie."""

THINNED_AT_COSINE = 0.95
"""Images this near to each other count as one in the sample, whatever `max_eps` is."""


def _inputs(work: Work, _: str) -> Inputs:
    """The model's weights, not the embeddings; and the number of images, until it is outgrown."""
    return {WEIGHTS: weights_in_force(work), IMAGES: _trained_for(work)}


def _trained_for(work: Work) -> int:
    before = work.entry(CENTROIDS)
    fit, n_before = fit_in_force(work), before.state.get("n_images") if before else None
    n_now = images_now(work)[1]
    if fit is None or not work.settings.clusters.retrain:
        is_looked_at = before is not None and work.purpose is Purpose.PLAN
        if is_looked_at and not (n_before or n_now or all_fresh(IMAGE_EMBEDDINGS, work)):
            raise UndecidedError("undecided: a codebook is trained once there is an image")
        return n_before or n_now
    if fit.is_unfit is None:
        raise UndecidedError(
            f"undecided: whether the codebook is trained anew; its {fit.n_clusters:,} cells suit "
            f"the {fit.n_trained_for:,} images that it was trained for, and how many there will be "
            "is known once they are embedded"
        )
    return n_now if fit.is_unfit else fit.n_trained_for


def fit_in_force(work: Work) -> CodebookFit | None:
    """How the codebook suits the images that there are now.

    None if there is none that was trained by the settings in force, or it is not to follow images.
    """
    entry = work.entry(CENTROIDS)
    if entry is None or not entry.state.get("n_images") or why_other_code(CENTROIDS, work, ALL):
        return None
    return codebook_fit(work, entry)


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    from curator_assets.kernels.cell_order import chain_of_neighbours
    from curator_assets.kernels.kmeans import (
        deduplicate_sample,
        mean_cosine_to_nearest,
        train_centroids,
    )
    from curator_assets.kernels.prefix import principal_directions

    settings, store = work.settings, work.store

    def make(_: str) -> Made:
        embedded = shards_of_one_id_each(work)
        if not embedded:
            raise MissingInputError(f"no shard is embedded; make {IMAGE_EMBEDDINGS.name} first")
        n_of_shard = {shard: n_images(entry) for shard, entry in embedded.items()}
        n_embedded = sum(n_of_shard.values())
        n_clusters, seed = n_clusters_for(n_embedded, settings), settings.clusters.seed
        n_wished = min(settings.clusters.sample_size, SAMPLE_A_CELL * n_clusters)
        sample = sample_embeddings(store, n_of_shard, n_wished=n_wished, seed=seed)
        if not n_embedded:
            return _placeholder(work, sample.shape[1])
        sparse = sample[deduplicate_sample(sample, min_cosine=THINNED_AT_COSINE, seed=seed)]
        trained = train_centroids(
            sparse,
            n_clusters=n_clusters,
            n_iterations=settings.clusters.n_iterations,
            seed=seed,
        )
        trained = trained[chain_of_neighbours(trained)]
        basis = principal_directions(_spread(sparse, PREFIX_SAMPLE), trained)
        _write(store, trained, None if basis is None else basis.directions)
        metadata = {
            "n_clusters": len(trained),
            "n_images": n_embedded,
            "n_sampled": len(sample),
            "n_trained_on": len(sparse),
            # of all that were drawn: images to come are not thinned either
            "mean_cosine_to_centroid": mean_cosine_to_nearest(_spread(sample, FIT_SAMPLE), trained),
            "seed": seed,
            "n_iterations": settings.clusters.n_iterations,
            "file": store.url(layout.CENTROIDS),
        }
        return _made(work, metadata)

    yield make


def _words(told: Mapping[str, Any], _: Settings) -> str:
    if not told["n_images"]:
        return "one cell for everything: there is no image to train on yet"
    cells, images = (
        counted_or_no(told["n_clusters"], "cell"),
        counted_or_no(told["n_images"], "image"),
    )
    return f"{cells}, trained on {told['n_trained_on']:,} of {images}"


CENTROIDS = Stage(
    name=CODEBOOK,
    by=Partitioning.WHOLE,
    deps=(Dep(IMAGE_EMBEDDINGS, is_sampled=True),),
    group="4_deduplicate",
    kinds=frozenset({"faiss", "numpy"}),
    description="The cells that images are divided into, so that only near ones are compared.\n\n"
    "One codebook, without partitions: K unit vectors by spherical k-means on a seeded, thinned "
    "sample of the embeddings, near ones side by side. It costs seconds to minutes. Another model"
    " or setting of `clusters` makes it stale; new images don't before it would have twice as "
    "many cells, since another codebook has everything searched anew.",
    version="2",
    covers=lambda settings: [
        settings.model.name,
        settings.clusters.model_dump(include={"n_clusters", "seed", "sample_size", "n_iterations"}),
    ],
    files=lambda _: (layout.CENTROIDS, layout.PREFIX_DIRECTIONS),
    inputs=_inputs,
    making=OneByOne(_open),
    unit="codebooks",
    counts=("n_clusters", "n_images"),
    words=_words,
)


def _placeholder(work: Work, embedding_dim: int) -> Made:
    """One cell for everything, until there is an image to train on."""
    store = work.store
    _write(store, np.eye(1, embedding_dim, dtype=np.float32), None)
    metadata = {
        "n_clusters": 1,
        "n_images": 0,
        "mean_cosine_to_centroid": 1.0,
        "file": store.url(layout.CENTROIDS),
    }
    return _made(work, metadata)


def _spread(sample: np.ndarray, n_rows: int) -> np.ndarray:
    """About so many rows of a sample, evenly spread over it."""
    return sample[:: max(1, len(sample) // n_rows)]


def _write(store: Store, centroids: np.ndarray, directions: np.ndarray | None) -> None:
    """The codebook, and what prefixes are taken along: float32 [D, p], p = 0 for none."""
    with store.write(layout.CENTROIDS) as file:
        np.save(file, centroids)
    with store.write(layout.PREFIX_DIRECTIONS) as file:
        np.save(file, centroids.T[:, :0] if directions is None else directions)


def _made(work: Work, metadata: Mapping[str, Any]) -> Made:
    """The codebook, with what its fit is told by, and the images that there are as its input."""
    told = ("n_images", "n_clusters", "mean_cosine_to_centroid")
    inputs = {WEIGHTS: weights_in_force(work), IMAGES: metadata["n_images"]}
    return Made(ALL, metadata, state={name: metadata[name] for name in told}, inputs=inputs)


def sample_embeddings(
    store: Store, n_of_shard: Mapping[str, int], *, n_wished: int, seed: int
) -> np.ndarray:
    """A seeded sample of the embeddings of some shards, each shard in proportion.

    Args:
        store: where they lie.
        n_of_shard: shard -> how many it has.
        n_wished: how many to take.
        seed: of the choice.

    Returns:
        float32 [n, D], n about `n_wished` or all there are.
    """
    share = min(1.0, n_wished / max(sum(n_of_shard.values()), 1))
    parts = []
    for shard, n in n_of_shard.items():
        matrix, _ = embedding_matrix(read_table(store, layout.embeddings(shard), ["embedding"]))
        chosen = np.random.default_rng([seed, *shard.encode()]).permutation(n)[
            : int(np.ceil(share * n))
        ]
        parts.append(matrix[np.sort(chosen)])
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
