"""How the codebook suits the images, in words: why it is trained anew, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from curator_assets.defs.deduplicate.centroids import CENTROIDS, fit_in_force
from curator_assets.defs.deduplicate.codebook_fit import CodebookFit
from curator_assets.engine.plan import StagePlan
from curator_assets.engine.work import Work

AT_WHAT_COST = (
    "it is trained anew, and all images are assigned and searched again; clusters.retrain: false "
    "would hold it back"
)


def codebook_lines(plans: Iterable[StagePlan], work: Work) -> Iterator[str]:
    """A line if images have outgrown the codebook, or drifted from it; none otherwise."""
    fit, is_held_back = fit_in_force(work), not work.settings.clusters.retrain
    if fit is None or not fit.is_unfit:
        return
    is_trained = any(plan.stage is CENTROIDS and plan.stale for plan in plans)
    if is_trained and not is_held_back:
        yield f"codebook: {_why(fit)}; {AT_WHAT_COST}"
    elif is_held_back and not is_trained:
        more = f"up to {fit.n_wished / fit.n_clusters:.1f} times as many pairs"
        what = f"{more} as" if fit.is_outgrown else "more pairs than"
        yield (
            f"codebook: {_why(fit)}; clusters.retrain: false holds it back, and a search compares "
            f"{what} it would with one that fits"
        )


def _why(fit: CodebookFit) -> str:
    if fit.is_outgrown:
        return (
            f"{fit.n_clusters:,} cells were made for {fit.n_trained_for:,} images, and about "
            f"{fit.n_images:,} call for {fit.n_wished:,}"
        )
    return (
        f"images lie {fit.drift:.2g} times as far from their centroids as those that it was "
        f"trained on, and {fit.n_trained_for:,} have become about {fit.n_images:,}"
    )
