"""`centroids`: the codebook that divides the near-duplicate search into cells."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np

from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.stage import Failed, Inputs, Made, Outcome, Stage, Work
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import hash_of
from curator_assets.storage.store import Store
from curator_assets.storage.tables import embedding_matrix, read_table

ASSET = "centroids"

IMAGES, NO_IMAGES = "images", "none"
"""The input of a codebook that was made when no image could be read: one is trained once some can
be."""

# docs/log.md, "cost of the search": what they were on codebooks trained on a thinned sample.
SKEW = 2.5
VISITS = 4.0
MIN_IMAGES_PER_CLUSTER = 16


def code_version(settings: Settings) -> str:
    """What the codebook depends on: the model and its own settings, not the embeddings.

    Any codebook serves any embeddings of the same model (an unfit one costs time, not recall), so
    new images don't retrain it.
    """
    model = settings.model.model_dump(include={"name", "pretrained"})
    clusters = settings.clusters.model_dump(exclude={"n_cell_groups"})
    return f"1-{hash_of(model, clusters)}"


def build_centroids(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        deps=["image_embeddings"],
        group_name="deduplicate",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        kinds={"faiss", "numpy"},
        description="K unit vectors: spherical k-means on a seeded, de-duplicated sample of the "
        "embeddings. Trained once a model; new images don't make it stale, only less well fit.",
    )
    def centroids(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return centroids


def stage(work: Work) -> Stage:
    """How the codebook is trained."""
    settings, store = work.settings, work.store

    def inputs(_: str | None) -> Inputs:
        before = work.ledger.read(ASSET)
        trained = before is not None and before.inputs.get(IMAGES) != NO_IMAGES
        return {} if trained or _has_images(work) else {IMAGES: NO_IMAGES}

    def make(_: list[str | None]) -> Iterator[Outcome]:
        from curator_assets.kernels.kmeans import deduplicate_sample, train_centroids

        embedded = list(work.made_shards("image_embeddings"))
        if not embedded:
            yield Failed(None, "no embedding to train on; materialise image_embeddings first")
            return
        sample, n_images = sample_embeddings(store, embedded, settings)
        if not n_images:
            yield _placeholder(store, sample.shape[1])
            return
        seed = settings.clusters.seed
        min_cosine = 1 - settings.duplicates.max_eps
        sparse = sample[deduplicate_sample(sample, min_cosine=min_cosine, seed=seed)]
        trained = train_centroids(
            sparse,
            n_clusters=_n_clusters(settings, n_images),
            n_iterations=settings.clusters.n_iterations,
            seed=seed,
        )
        with store.write(layout.CENTROIDS) as file:
            np.save(file, trained)
        metadata = {
            "n_clusters": len(trained),
            "n_images": n_images,
            "n_sampled": len(sample),
            "n_trained_on": len(sparse),
            "mean_cosine_to_centroid": float((sparse @ trained.T).max(axis=1).mean()),
            "seed": seed,
            "n_iterations": settings.clusters.n_iterations,
            "url": store.url(layout.CENTROIDS),
        }
        yield Made(None, files=(layout.CENTROIDS,), metadata=metadata)

    return Stage(ASSET, code_version(settings), inputs, make)


def _has_images(work: Work) -> bool:
    """Whether any shard has an image that could be read."""
    made = work.made_shards("image_embeddings").values()
    return any(entry.metadata["n_unreadable"] < entry.metadata["n_samples"] for entry in made)


def _placeholder(store: Store, embedding_dim: int) -> Made:
    """One cell for everything, until there is an image to train on."""
    with store.write(layout.CENTROIDS) as file:
        np.save(file, np.eye(1, embedding_dim, dtype=np.float32))
    metadata = {
        "n_clusters": 1,
        "n_images": 0,
        "mean_cosine_to_centroid": 1.0,
        "url": store.url(layout.CENTROIDS),
    }
    inputs = {IMAGES: NO_IMAGES}
    return Made(None, files=(layout.CENTROIDS,), metadata=metadata, inputs=inputs)


def _n_clusters(settings: Settings, n_images: int) -> int:
    from curator_assets.kernels.kmeans import choose_n_clusters

    if settings.clusters.n_clusters != "auto":
        return settings.clusters.n_clusters
    return choose_n_clusters(
        n_images, skew=SKEW, visits=VISITS, min_images_per_cluster=MIN_IMAGES_PER_CLUSTER
    )


def sample_embeddings(
    store: Store, shards: list[str], settings: Settings
) -> tuple[np.ndarray, int]:
    """A seeded sample of the embeddings of some shards, each shard in proportion.

    Returns:
        float32 [n, D], n about `clusters.sample_size` or all there are; and how many there are.
    """
    counts = [
        read_table(store, layout.embeddings(s), ["error"])["error"].null_count for s in shards
    ]
    share = min(1.0, settings.clusters.sample_size / max(sum(counts), 1))
    parts = []
    for shard, n in zip(shards, counts, strict=True):
        matrix, _ = embedding_matrix(read_table(store, layout.embeddings(shard), ["embedding"]))
        seed = [settings.clusters.seed, *shard.encode()]
        chosen = np.random.default_rng(seed).permutation(n)[: int(np.ceil(share * n))]
        parts.append(matrix[np.sort(chosen)])
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), sum(counts)
