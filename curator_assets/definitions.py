"""The only place where things are wired."""

import dagster as dg

from curator_assets.defs.centroids import build_centroids
from curator_assets.defs.cluster_assignments import build_cluster_assignments
from curator_assets.defs.curation_report import build_curation_report
from curator_assets.defs.deduplicated_shards import build_deduplicated_shards
from curator_assets.defs.duplicate_groups import build_duplicate_groups
from curator_assets.defs.duplicate_ids import build_duplicate_ids
from curator_assets.defs.eps_calibration import build_eps_calibration
from curator_assets.defs.filter_scores import build_filter_scores
from curator_assets.defs.image_embeddings import build_image_embeddings
from curator_assets.defs.near_duplicate_pairs import build_near_duplicate_pairs
from curator_assets.defs.refresh import build_refresh_job
from curator_assets.defs.tar_sensor import build_tar_sensor
from curator_assets.defs.tar_shards import tar_shards
from curator_assets.partitions import register_at_load
from curator_assets.resources import resources
from curator_assets.settings import Settings, load_settings


def build_assets(settings: Settings) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The eleven assets for these settings."""
    return [
        tar_shards,
        build_image_embeddings(settings),
        build_filter_scores(settings),
        build_centroids(settings),
        build_cluster_assignments(settings),
        build_near_duplicate_pairs(settings),
        build_duplicate_groups(settings),
        build_duplicate_ids(settings),
        build_deduplicated_shards(settings),
        build_curation_report(settings),
        build_eps_calibration(settings),
    ]


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions for the settings file in force; new tars become partitions."""
    settings = load_settings()
    register_at_load(settings)
    assets = build_assets(settings)
    refresh = build_refresh_job(
        settings, [asset for asset in assets if isinstance(asset, dg.AssetsDefinition)]
    )
    return dg.Definitions(
        assets=assets,
        jobs=[refresh],
        sensors=[build_tar_sensor(settings, refresh)],
        resources=resources(settings),
        executor=dg.in_process_executor,
    )
