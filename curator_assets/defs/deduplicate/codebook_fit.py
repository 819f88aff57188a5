"""Whether the codebook suits the images that there are now, or is to be trained anew.

Any codebook serves any embeddings of the same model: one that does not fit costs time, not recall.
So it stays until the search would cost a multiple of what it could, and is trained anew only as
images come: what was searched is not made cheaper by searching it again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS, n_images
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.work import Purpose, Work
from curator_assets.kernels.n_clusters import choose_n_clusters
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry
from curator_assets.storage.shards.tar_versions import size_when_read

# docs/log.md, "cost of the search": what they were on codebooks trained on a thinned sample.
SKEW = 2.5
VISITS = 4.0
MIN_IMAGES_PER_CLUSTER = 16

FOLLOWS_FROM = 20_000
"""Images below which any codebook will do: all of their pairs are compared in seconds."""

OUTGROWN = 2
"""The codebook is trained anew when it would have more than so many times the cells; these grow
with the root of the images."""

MAX_DRIFT = 1.5
"""Mean distance to the centroid, in multiples of the training sample's, above which to retrain."""

DRIFTED_BY = 1.1
"""As long as there are not so many times the images that it was trained for, it stays all the same:
trained anew, it would be about the same again."""

TARS_VARY = 1.25
"""The factor by which the images of a new tar may be off those of the others of its size."""

CODEBOOK = "centroids"
"""The asset that is the codebook."""

ASSIGNED = "cluster_assignments"
"""The asset whose entries tell how far the images of a shard lie from their centroids."""


@dataclass(frozen=True)
class CodebookFit:
    """A codebook beside the images that there are now.

    Attributes:
        n_clusters: its cells.
        n_trained_for: the images that there were when it was trained.
        n_images: that there are now; in a plan, those of new tars are estimated by their sizes.
        n_wished: the cells that so many images would get.
        drift: how many times as far as the training sample's the images lie from its centroids.
        is_outgrown: whether it would get far more cells; None if the estimate leaves it open.
        has_drifted: likewise, whether the images are too far from it, and more than they were.
    """

    n_clusters: int
    n_trained_for: int
    n_images: int
    n_wished: int
    drift: float
    is_outgrown: bool | None
    has_drifted: bool | None

    @property
    def is_unfit(self) -> bool | None:
        """Whether it is to be trained anew; None if that can't be told yet."""
        if self.is_outgrown or self.has_drifted:
            return True
        return None if None in (self.is_outgrown, self.has_drifted) else False


def codebook_fit(work: Work, codebook: Entry) -> CodebookFit | None:
    """How a codebook suits the images that there are now; None if it is not to follow them.

    Args:
        work: whose ledger and tars are looked at.
        codebook: its entry, trained on at least one image.
    """
    settings, state = work.settings, codebook.state
    least, likely, most = images_now(work)
    if settings.clusters.n_clusters != "auto" or most < FOLLOWS_FROM:
        return None
    n_trained_for = state["n_images"]
    drift = _drift(work, codebook)

    def outgrown(n: int) -> bool:
        enough = OUTGROWN * n_clusters_for(n_trained_for, settings)
        return n >= FOLLOWS_FROM and n_clusters_for(n, settings) > enough

    def drifted(n: int) -> bool:
        return n >= FOLLOWS_FROM and drift > MAX_DRIFT and n >= DRIFTED_BY * n_trained_for

    return CodebookFit(
        n_clusters=state["n_clusters"],
        n_trained_for=n_trained_for,
        n_images=likely,
        n_wished=n_clusters_for(likely, settings),
        drift=drift,
        is_outgrown=outgrown(most) if outgrown(least) == outgrown(most) else None,
        has_drifted=drifted(most) if drifted(least) == drifted(most) else None,
    )


def n_clusters_for(n_images: int, settings: Settings) -> int:
    """The cells that a codebook for so many images gets, by the settings."""
    if settings.clusters.n_clusters != "auto":
        return settings.clusters.n_clusters
    return choose_n_clusters(
        n_images, skew=SKEW, visits=VISITS, min_images_per_cluster=MIN_IMAGES_PER_CLUSTER
    )


def images_now(work: Work) -> tuple[int, int, int]:
    """The images that take part: at least, likely and at most.

    They are known once they are embedded. A plan estimates those of tars that are not, by the
    images that a byte of the others holds; as long as no tar is embedded, they are not counted.
    """
    embedded = {shard: n_images(entry) for shard, entry in shards_of_one_id_each(work).items()}
    if work.purpose is not Purpose.PLAN:
        return (sum(embedded.values()),) * 3
    tars = work.ledger.read_all(TAR_SHARDS.name)
    sizes = {shard: size_when_read(tars[shard]) or 0 for shard in embedded if shard in tars}
    new = dict.fromkeys(set(work.shards).difference(work.made_shards(IMAGE_EMBEDDINGS)), 0)
    new |= {shard: n for shard, n in embedded.items() if _is_other(shard, sizes, work)}
    n_known = sum(embedded.values()) - sum(new.values())
    n_bytes = sum(work.n_bytes.get(shard, 0) for shard in new)
    n_new = n_bytes * sum(embedded[shard] for shard in sizes) / max(sum(sizes.values()), 1)
    return (
        n_known + round(n_new / TARS_VARY),
        n_known + round(n_new),
        n_known + round(n_new * TARS_VARY),
    )


def _is_other(shard: str, sizes: Mapping[str, int], work: Work) -> bool:
    """Whether the tar of a shard that was embedded has another size now."""
    return shard in sizes and work.n_bytes.get(shard, sizes[shard]) != sizes[shard]


def _drift(work: Work, codebook: Entry) -> float:
    """Of the images that are assigned to it, while others are to be; 0 if none are."""
    is_plan = work.purpose is Purpose.PLAN
    coming = set(work.shards if is_plan else work.made_shards(IMAGE_EMBEDDINGS))
    n, distance = 0, 0.0
    for shard, entry in work.ledger.read_all(ASSIGNED).items():
        is_mine = entry.inputs.get(CODEBOOK) == codebook.data_version
        embedded = work.entry(IMAGE_EMBEDDINGS, shard)
        if shard not in coming or not is_mine or embedded is None:
            continue
        n += entry.state["n_images"]
        distance += entry.state["n_images"] * entry.state["mean_distance_to_centroid"]
        if entry.inputs.get(IMAGE_EMBEDDINGS.name) == embedded.data_version:
            coming.remove(shard)
    return distance / n / training_distance(codebook) if n and coming else 0.0


def training_distance(codebook: Entry) -> float:
    """Mean distance of the training sample from its centroids, above 0."""
    return max(1 - float(codebook.state["mean_cosine_to_centroid"]), 1e-6)
