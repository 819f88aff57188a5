"""`centroids`: the codebook that divides the near-duplicate search into cells."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from curator_assets.defs.embed.embedding_weights import WEIGHTS, weights_in_force
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS, n_images
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.engine.freshness import all_fresh
from curator_assets.engine.partitioning import ALL, MissingInputError, Partitioning, UndecidedError
from curator_assets.engine.stage import Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Purpose, Work
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import embedding_matrix, read_table

IMAGES, NO_IMAGES = "images", "none"
"""The input of a codebook that was made when no image could be read: one is trained once some can
be."""

# docs/log.md, "cost of the search": what they were on codebooks trained on a thinned sample.
SKEW = 2.5
VISITS = 4.0
MIN_IMAGES_PER_CLUSTER = 16

SAMPLE_A_CELL = 64
"""Images a cell that train the codebook: more move the centroids hardly any more (docs/log.md)."""

THINNED_AT_COSINE = 0.95
"""Images this near to each other count as one in the sample, whatever `max_eps` is."""


def _inputs(work: Work, _: str) -> Inputs:
    """The model's weights, not the embeddings.

    Any codebook serves any embeddings of the same model (an unfit one costs time, not recall), so
    new images don't retrain it.
    """
    before = work.entry(CENTROIDS)
    trained = before is not None and before.inputs.get(IMAGES) != NO_IMAGES
    inputs = {WEIGHTS: weights_in_force(work)}
    if trained or _has_images(work):
        return inputs
    if work.purpose is Purpose.PLAN and before and not all_fresh(IMAGE_EMBEDDINGS, work):
        raise UndecidedError("undecided: a codebook is trained once there is an image")
    return inputs | {IMAGES: NO_IMAGES}


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    from curator_assets.kernels.cell_order import chain_of_neighbours
    from curator_assets.kernels.kmeans import deduplicate_sample, train_centroids

    settings, store = work.settings, work.store

    def make(_: str) -> Made:
        embedded = shards_of_one_id_each(work)
        if not embedded:
            raise MissingInputError(f"no shard is embedded; make {IMAGE_EMBEDDINGS.name} first")
        n_of_shard = {shard: n_images(entry) for shard, entry in embedded.items()}
        n_embedded = sum(n_of_shard.values())
        n_clusters, seed = _n_clusters(settings, n_embedded), settings.clusters.seed
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
        with store.write(layout.CENTROIDS) as file:
            np.save(file, trained)
        mean_cosine = float((sparse @ trained.T).max(axis=1).mean())
        metadata = {
            "n_clusters": len(trained),
            "n_images": n_embedded,
            "n_sampled": len(sample),
            "n_trained_on": len(sparse),
            "mean_cosine_to_centroid": mean_cosine,
            "seed": seed,
            "n_iterations": settings.clusters.n_iterations,
            "url": store.url(layout.CENTROIDS),
        }
        return Made(ALL, metadata, state={"mean_cosine_to_centroid": mean_cosine})

    yield make


CENTROIDS = Stage(
    name="centroids",
    by=Partitioning.WHOLE,
    deps=(Dep(IMAGE_EMBEDDINGS, is_sampled=True),),
    group="deduplicate",
    kinds=frozenset({"faiss", "numpy"}),
    description="K unit vectors: spherical k-means on a seeded, de-duplicated sample of the "
    "embeddings. Trained once a model; new images don't make it stale, only less well fit.",
    version="2",
    covers=lambda settings: [
        settings.model.name,
        settings.clusters.model_dump(include={"n_clusters", "seed", "sample_size", "n_iterations"}),
    ],
    files=lambda _: (layout.CENTROIDS,),
    inputs=_inputs,
    making=OneByOne(_open),
    unit="codebooks",
)


def _has_images(work: Work) -> bool:
    """Whether any shard has an image that could be read."""
    return any(n_images(entry) for entry in shards_of_one_id_each(work).values())


def _placeholder(work: Work, embedding_dim: int) -> Made:
    """One cell for everything, until there is an image to train on."""
    store = work.store
    with store.write(layout.CENTROIDS) as file:
        np.save(file, np.eye(1, embedding_dim, dtype=np.float32))
    metadata = {
        "n_clusters": 1,
        "n_images": 0,
        "mean_cosine_to_centroid": 1.0,
        "url": store.url(layout.CENTROIDS),
    }
    return Made(
        ALL,
        metadata,
        state={"mean_cosine_to_centroid": 1.0},
        inputs={WEIGHTS: weights_in_force(work), IMAGES: NO_IMAGES},
    )


def _n_clusters(settings: Settings, n_images: int) -> int:
    from curator_assets.kernels.kmeans import choose_n_clusters

    if settings.clusters.n_clusters != "auto":
        return settings.clusters.n_clusters
    return choose_n_clusters(
        n_images, skew=SKEW, visits=VISITS, min_images_per_cluster=MIN_IMAGES_PER_CLUSTER
    )


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
