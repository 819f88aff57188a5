"""The pipeline, stage by stage: each is made from those before it."""

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.duplicate_groups import DUPLICATE_GROUPS
from curator_assets.defs.deduplicate.duplicate_ids import DUPLICATE_IDS
from curator_assets.defs.deduplicate.eps_calibration import EPS_CALIBRATION
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.filter.filter_scores import FILTER_SCORES
from curator_assets.defs.output.curation_report import CURATION_REPORT
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.engine.stage import Graph

GRAPH = Graph(
    stages=(
        IMAGE_EMBEDDINGS,
        FILTER_SCORES,
        CENTROIDS,
        CLUSTER_ASSIGNMENTS,
        NEAR_DUPLICATE_PAIRS,
        DUPLICATE_GROUPS,
        DUPLICATE_IDS,
        DEDUPLICATED_SHARDS,
        CURATION_REPORT,
        EPS_CALIBRATION,
    ),
    order=DUPLICATE_GROUPS,
    home=f"{__name__}:GRAPH",
)
